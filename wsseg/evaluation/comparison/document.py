"""A report as a list of sections, rendered as one self-contained HTML page or as Markdown with separate pictures."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wsseg.core.names import visible

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; } th, td { padding: 0.3rem 0.7rem; text-align: right; border-bottom: 1px solid #e5e5e5; }
th { border-bottom: 2px solid #999; vertical-align: bottom; } th:first-child, td:first-child { text-align: left; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; } figcaption { color: #555; font-size: 0.9rem; }
pre { background: #f5f5f5; padding: 0.8rem; overflow-x: auto; } nav a { margin-right: 1rem; }
"""


@dataclass(frozen=True)
class ReportSection:
    """One section of a report, in this order: text, table, commands, pictures.

    Attributes:
        title: Heading.
        text: Paragraphs.
        columns: Column headings of the table; empty for no table.
        rows: Cells of the table.
        commands: Shell commands.
        pictures: Captions and PNG files, which lie below the folder of the report.
    """

    title: str
    text: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    commands: tuple[str, ...] = ()
    pictures: tuple[tuple[str, Path], ...] = ()


def page(title: str, sections: Sequence[ReportSection]) -> str:
    """Return the report as one HTML page with embedded pictures."""
    links = " ".join(f'<a href="#part{n}">{_html(section.title)}</a>' for n, section in enumerate(sections))
    body = "\n".join(_html_section(n, section) for n, section in enumerate(sections))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{_html(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{_html(title)}</h1>\n<nav>{links}</nav>\n{body}\n</body>\n"
        "</html>\n"
    )


def _html_section(number: int, section: ReportSection) -> str:
    lines = [f'<section id="part{number}">', f"<h2>{_html(section.title)}</h2>"]
    lines += [f"<p>{_html(text)}</p>" for text in section.text]
    if section.columns:
        head = "".join(f'<th scope="col">{_html(cell)}</th>' for cell in section.columns)
        rows = "\n".join("<tr>" + "".join(f"<td>{_html(c)}</td>" for c in row) + "</tr>" for row in section.rows)
        lines.append(
            f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>'
        )
    if section.commands:
        lines.append(f"<pre>{chr(10).join(map(_html, section.commands))}</pre>")
    for caption, path in section.pictures:
        escaped, data = _html(caption), base64.b64encode(path.read_bytes()).decode()
        lines.append(
            f'<figure><img alt="{escaped}" src="data:image/png;base64,{data}">'
            f"<figcaption>{escaped}</figcaption></figure>"
        )
    return "\n".join([*lines, "</section>"])


def _html(text: str) -> str:
    """Return a text as HTML shows it, character for character; control characters as escapes."""
    return html.escape(visible(text, len(text)), quote=True)


def markdown(title: str, sections: Sequence[ReportSection], folder: Path) -> str:
    """Return the report as Markdown for a file in `folder`."""
    lines = [f"# {_literal(title)}"]
    for section in sections:
        lines += [f"## {_literal(section.title)}", *map(_literal, section.text)]
        if section.columns:
            head, *body = [[_literal(cell) for cell in row] for row in (section.columns, *section.rows)]
            table = [head, ["---"] * len(head), *body]
            lines.append("\n".join(f"| {' | '.join(row)} |" for row in table))
        if section.commands:
            text = "\n".join(section.commands)
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
            lines.append(f"{fence}\n{text}\n{fence}")
        lines += [
            f"![{_literal(caption)}]({path.relative_to(folder).as_posix()})" for caption, path in section.pictures
        ]
    return "\n\n".join(lines) + "\n"


def _literal(text: str) -> str:
    """Escape a text for Markdown: `+ CRF` must not start a list, and `[1]` must not become a link."""
    text = re.sub(r"([\\`*<>|\[\]&~$]|\b_|_\b)", r"\\\1", visible(" ".join(text.split()), len(text)))
    return re.sub(r"^(\d*)(#+|[-+.)])(?= )", r"\1\\\2", text)
