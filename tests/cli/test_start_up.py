"""What a command does not import: the command line answers fast, and scoring needs no network."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HEAVY = ("torch", "numpy", "scipy", "monai", "mlflow", "matplotlib", "skimage")
RUN = """
import sys
from wsseg.cli import main
sys.argv = ["wsseg", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("imported:", *sorted(m for m in sys.modules if "." not in m))
"""


def imported_by(*words: object) -> set[str]:
    command = [sys.executable, "-c", RUN, *map(str, words)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.splitlines()[-1].removeprefix("imported: ").split())


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["recipes"], ["train", "--help"]], ids=" ".join)
def test_help_and_lists_import_nothing_heavy(words: list[str]) -> None:
    assert not imported_by(*words) & set(HEAVY)


def test_evaluate_imports_neither_monai_nor_torch(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    root = make_dataset(cases=2)
    modules = imported_by("evaluate", root / "labelsTr", root / "labelsTr", "--out", tmp_path / "scores.csv")
    assert "numpy" in modules and not modules & {"torch", "monai", "mlflow"}


def test_commands_are_imported_without_monai() -> None:
    names = "ablate, annotate, audit, check, compare, evaluate, predict, sync, train"
    code = f"import sys\nfrom wsseg.commands import {names}\nsys.exit('monai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
