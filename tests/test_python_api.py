"""The commands from Python: as on the command line, with objects back and nothing shown."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import wsseg
from wsseg.core.errors import FaultsError

ROOT = Path(__file__).parent.parent


def test_importing_wsseg_imports_almost_no_part_of_it() -> None:
    code = "import sys, wsseg; print(*sorted(name for name in sys.modules if name.startswith('wsseg.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["wsseg.core", "wsseg.core.machine"], "it only sets the environment"


def test_train_predict_and_evaluate_return_objects_and_print_nothing(
    make_dataset: Callable[..., Path],
    make_recipe: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = make_dataset()
    run = wsseg.train(make_recipe(root), {"training.iterations": 2}, run_dir=tmp_path / "run")
    assert run.path == tmp_path / "run" and run.finished
    assert {row.class_name for row in run.scores} == {"left", "right"}
    maps = wsseg.predict(run, root / "imagesTs", tmp_path / "out")
    assert maps == {"case_100": tmp_path / "out" / "case_100.nii.gz"} and maps["case_100"].is_file()
    rows = wsseg.evaluate(tmp_path / "out", root / "labelsTs")
    assert [row.case for row in rows] == ["case_100", "case_100"] and rows[0].dice is not None
    assert capsys.readouterr().out == "" and not Path("scores.csv").exists()


def test_faults_are_raised_together(make_dataset: Callable[..., Path], make_recipe: Callable[..., Path]) -> None:
    with pytest.raises(FaultsError) as error:
        wsseg.train(make_recipe(make_dataset()), ["training.lr=fast", "data.fold=7"])
    assert len(error.value.faults) == 2


def test_progress_and_a_reporter_show_what_the_command_line_shows(
    make_dataset: Callable[..., Path], recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = make_dataset(cases=2) / "labelsTr"
    wsseg.evaluate(labels, labels, progress=True)
    assert "dice" in capsys.readouterr().out
    wsseg.evaluate(labels, labels, out=tmp_path / "scores.csv", reporter=recorder)
    assert recorder.tables and (tmp_path / "scores.csv").is_file()


@pytest.mark.slow
@pytest.mark.timeout(1500)  # three short trainings
def test_the_code_of_the_how_to_runs(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "how-to" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    shutil.copy(ROOT / "recipes" / "npc_scribble.yaml", tmp_path)
    (tmp_path / "page.py").write_text("\n".join(blocks), encoding="utf-8")
    result = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
