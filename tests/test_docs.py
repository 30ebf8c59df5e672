"""The documentation holds: links, commands, settings and examples exist, and the README stays short."""

import json
import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from wsseg.cli import app
from wsseg.recipe import plugins
from wsseg.recipe.reading import read_recipe
from wsseg.recipe.schema import Recipe

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted(
    [*ROOT.glob("*.md"), *(p for d in ("docs", "recipes", "annotations", "mlflow") for p in (ROOT / d).rglob("*.md"))]
)
WORDS = 900
PLUGINS = {"networks": ("networks", "networks.fusion"), "supervision": ("supervision",)}
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of a page in one language ("" for those without), indentation removed."""
    found, lines, indent, inside = [], [], "", False
    for line in page.read_text(encoding="utf-8").splitlines():
        fence = re.fullmatch(r"(\s*)```(\w*)", line)
        if fence and not inside:
            indent, inside, lines = fence[1], fence[2] == language or None, []
        elif fence:
            found += ["\n".join(lines) + "\n"] if inside else []
            inside = False
        elif inside:
            lines.append(line.removeprefix(indent))
    return found


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"^\s*```.*?^\s*```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short() -> None:
    assert len(prose(README).split()) <= WORDS


@every_page
def test_relative_links_resolve(page: Path) -> None:
    missing = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?://|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(link)
    assert not missing, f"{page}: {missing}"


@every_page
def test_files_named_in_a_page_exist(page: Path) -> None:
    """A path of the project in code style, e.g. `wsseg/supervision/gated_crf.py`."""
    named = re.findall(r"`((?:wsseg|tests|recipes|docs)/[\w./]+)`", prose(page))
    assert not [path for path in named if not (ROOT / path).exists() and "NAME" not in path]


def commands() -> dict[str, typer.core.TyperCommand]:
    """Return every command by its words: `train`, `annotate simulate` ..."""
    found = {}
    for name, command in typer.main.get_command(app).commands.items():
        found[name] = command
        found |= {f"{name} {sub}": c for sub, c in getattr(command, "commands", {}).items()}
    return found


def test_the_readme_lists_every_command() -> None:
    listed = set(re.findall(r"^\| `wsseg (\w+)", README.read_text(encoding="utf-8"), re.MULTILINE))
    assert listed == {name.split()[0] for name in commands()}


@every_page
def test_commands_and_options_in_examples_exist(page: Path) -> None:
    text = "\n".join(blocks(page, "bash") + blocks(page, "")).replace("\\\n", " ")
    known, strange = commands(), []
    for line in re.findall(r"^(?:.* -m )?wsseg +(.*)$", text, re.MULTILINE):
        words = line.split("#")[0].split()
        name = " ".join(words[:2]) if " ".join(words[:2]) in known else words[0]
        options = {o for p in known[name].params for o in (*p.opts, *p.secondary_opts)} if name in known else set()
        strange += [f"{name} {w}" for w in words if w.startswith("--") and w not in options]
        strange += [] if name in known or words[0].startswith("--") else [name]
    assert not strange, f"{page}: {strange}"


@every_page
def test_settings_named_in_a_page_exist(page: Path) -> None:
    """Keys in code style, such as `data.spacing_mm` or `supervision.gated_crf.weight=0`."""
    unknown = []
    for section, key, rest in re.findall(r"`(\w+)\.(\w+)((?:\.\w+)*)(?:=[^`]*)?`", prose(page)):
        if section in ("data", "training", "prediction", "evaluation", "tracking"):
            unknown += [] if key in Recipe.model_fields[section].annotation.model_fields else [f"{section}.{key}"]
        elif section in PLUGINS and rest:
            known = {name for room in PLUGINS[section] for name in plugins.names(room)} | {"ct", "mr", "cross"}
            unknown += [] if key in {*known, "total_variation"} else [f"{section}.{key}{rest}"]
    assert not unknown, f"{page}: {unknown}"


def test_the_methods_page_describes_every_plug_in() -> None:
    page = ROOT / "docs" / "explanation" / "methods.md"
    for room in ("networks", "networks.fusion", "supervision"):
        for name in plugins.names(room):
            for text in (prose(page), prose(README)):
                assert re.search(rf"`{name}`|^### {name}$", text, re.MULTILINE), name


@every_page
def test_json_examples_are_json(page: Path) -> None:
    for block in blocks(page, "json"):
        json.loads(block)


def test_the_recipe_of_the_readme_is_one(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(blocks(README, "yaml")[0])
    assert read_recipe(path).name == "npc_scribble"


def test_the_recipe_for_other_modalities_is_one(tmp_path: Path) -> None:
    """The blocks of own-data.md that replace sections of the copied recipe."""
    page, path = ROOT / "docs" / "how-to" / "own-data.md", tmp_path / "recipe.yaml"
    sections = next(block for block in blocks(page, "yaml") if "flair" in block)
    path.write_text(f"name: own\ntraining: {{iterations: 2}}\n{sections}")
    assert read_recipe(path).networks["cross"].fuses == ("t1", "flair")


OLD_WORDS = (
    "hall", "house", "houses", "room", "rooms", "ground", "floors?", "verbs?", "judges?", "Survey", "doubts",
    "departures", "Fate", "Wish", "lent", "undrawn", "engines?", "conduct(?:ing)?", "slicer.py", "auditing",
)  # fmt: skip


@every_page
def test_no_page_uses_a_retired_word(page: Path) -> None:
    found = re.findall(rf"\b(?:{'|'.join(OLD_WORDS)})\b", prose(page))
    assert not found, f"{page}: {found}"


def test_the_term_of_the_readme_passes_the_checks_and_trains(
    make_dataset, make_recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = tmp_path / "total_variation.py"
    plugin.write_text(blocks(README, "python")[0])
    run = tmp_path / "run"
    words = ["--plugin", plugin, "supervision.total_variation.weight=0.1", "training.iterations=2", "--run-dir", run]
    result = CliRunner().invoke(app, [str(word) for word in ("train", make_recipe(make_dataset()), *words)])
    assert result.exit_code == 0, result.output
    logged = (run / "record.jsonl").read_text()
    assert "loss/total_variation" in logged
    explained = CliRunner().invoke(app, ["settings", "supervision.total_variation.squared", "--plugin", str(plugin)])
    assert "Square the differences." in explained.output
    monkeypatch.syspath_prepend(tmp_path)
    test_it = next(block for block in blocks(ROOT / "docs/how-to/plugins.md", "python") if "check_term" in block)
    exec(compile(test_it, "plugins.md", "exec"), {})
