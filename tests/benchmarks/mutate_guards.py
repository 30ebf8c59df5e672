"""Removes one guard at a time from a copy of the package; a test has to fail for each.

    python tests/benchmarks/mutate_guards.py            # all guards
    python tests/benchmarks/mutate_guards.py NAME ...   # guards whose file or text contains a word

Each guard is a text in a file, its replacement, and the tests that have to notice. Exit code 1 if a guard can go
unnoticed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from wsseg.core.terminal import Terminal

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Guard:
    """One guard: without it, `test` has to fail."""

    file: str
    text: str
    without: str
    test: str


NAMES, JSON, YAML = "tests/core/test_names.py", "tests/core/test_plain_json.py", "tests/recipe/test_reading.py"
SECURITY = "tests/faults/test_security.py"
LINKS = "if links := [entry.name for entry in _links_out(self.path)]:"
GUARDS = (
    Guard("core/names.py", 'r"[^./\\\\\\s][^/\\\\]*"', 'r".*"', NAMES),
    Guard("core/names.py", "        and not any(_is_invisible(character) for character in name)\n", "", NAMES),
    Guard("core/names.py", "if not lies_inside(path.parent, folder) or", "if", NAMES),
    Guard("core/names.py", ' or ".." in path.parts[len(folder.parts) :]', "", NAMES),
    Guard("core/names.py", "repr(c)[1:-1] if _is_invisible(c) else c", "c", NAMES),
    Guard("core/names.py", "if len(text) <= length else", "if True else", NAMES),
    Guard("core/csv_cells.py", "if _FORMULA.match(name) or", "if", NAMES),
    Guard("core/csv_cells.py", "cell[1:] if _PROTECTED.match(cell) else cell", "cell", NAMES),
    Guard("core/plain_json.py", "except RecursionError:", "except MemoryError:", JSON),
    Guard("core/plain_json.py", "if len(content) < len(pairs):", "if False:", JSON),
    Guard("core/terminal.py", "Text(visible(cell))", "Text(cell)", "tests/core/test_terminal.py"),
    Guard("core/terminal.py", "visible(line, len(line))", "line", "tests/core/test_terminal.py"),
    Guard("recipe/yaml_file.py", 'getattr(event, "anchor", None) is not None', "False", YAML),
    Guard("recipe/yaml_file.py", "if self.depth >= MAXIMUM_DEPTH:", "if False:", YAML),
    Guard("recipe/yaml_file.py", "if str(node.tag) not in PLAIN_TAGS:", "if False:", YAML),
    Guard("recipe/yaml_file.py", "if key.value in seen:", "if False:", YAML),
    Guard("recipe/yaml_file.py", "if str(key.tag) == MERGE_TAG:", "if False:", YAML),
    Guard("recipe/plugins.py", "model.model_validate_json(text, strict=True)", "model.model_validate_json(text)", YAML),
    Guard("recipe/schema.py", "Truth = Annotated[bool, Strict()]", "Truth = bool", YAML),
    Guard("recipe/schema.py", 'r"^\\.*[A-Za-z0-9_-][A-Za-z0-9._-]*$"', 'r"^[A-Za-z0-9._-]+$"', YAML),
    Guard("core/errors.py", 'text if len(text) <= length else f"{text[: length - 4]} ..."', "text", YAML),
    Guard("dataset/folder.py", "if not may_name_a_file(name)]", "if False]", SECURITY),
    Guard("assembly/notes.py", "if not may_name_a_file(name):", "if False:", SECURITY),
    Guard("commands/predict.py", 'inside(out, "probabilities", name, file)', "out.joinpath(name, file)", SECURITY),
    Guard("commands/_run_folder.py", LINKS, "if links := []:", SECURITY),
    Guard("tracking/sending.py", "if not lies_inside(path, self._record.parent) or", "if", SECURITY),
    Guard("tracking/sending.py", '".." in Path(folder).parts or', "", SECURITY),
    Guard("core/sealed.py", "and not _is_whole(text)", "and False", "tests/core/test_sealed.py"),
    Guard("training/checkpoint.py", 'if hashlib.sha256(content).hexdigest() != notes.get("sha256"):', "if False:",
          "tests/training/test_checkpoint.py"),
    Guard("evaluation/comparison/document.py", "html.escape(visible(text, len(text)), quote=True)", "text",
          "tests/evaluation/comparison/test_report.py"),
)  # fmt: skip


def survives(guard: Guard, copy: Path) -> bool:
    """Return whether all tests pass without a guard."""
    path = copy / "wsseg" / guard.file
    sound = path.read_text(encoding="utf-8")
    if guard.text not in sound:
        raise ValueError(f"{guard.file}: has no {guard.text!r}; correct the list of guards")
    path.write_text(sound.replace(guard.text, guard.without, 1), encoding="utf-8")
    try:
        words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", guard.test]
        env = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        ended = subprocess.run(words, cwd=copy, env=env, capture_output=True, check=False)
        return ended.returncode == 0
    finally:
        path.write_text(sound, encoding="utf-8")


def main() -> int:
    """Run the command line."""
    words, terminal = sys.argv[1:], Terminal()
    chosen = [guard for guard in GUARDS if not words or any(word in f"{guard.file} {guard.text}" for word in words)]
    left = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", "runs", "*.db", "__pycache__", ".*_cache"))
        with terminal.progress("guards", len(chosen)) as bar:
            for guard in chosen:
                if survives(guard, copy):
                    left.append(guard)
                    terminal.say(f"unnoticed: {guard.file}: {guard.text}")
                bar.advance(guard.file)
    terminal.say(f"{len(chosen) - len(left)} of {len(chosen)} guards: a test fails without it")
    return int(bool(left))


if __name__ == "__main__":
    raise SystemExit(main())
