"""The directory of a run: one process at a time, and every damage of its files is one fault."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from wsseg.commands._run_folder import RunFolder
from wsseg.core.errors import DataError, FaultsError, RecipeError
from wsseg.core.files import whole_file
from wsseg.core.locks import LOCK, claim
from wsseg.evaluation.scoring import Row, write_csv
from wsseg.recipe.reading import read_recipe
from wsseg.recipe.schema import Recipe

PLAN = {"dataset": "made", "content": {"a": "x"}, "training": {"a": "p"}, "held_out": {"b": "q"}, "fold": 0}


@pytest.fixture
def recipe(make_recipe, tmp_path: Path) -> Recipe:
    return read_recipe(make_recipe(tmp_path))


@pytest.fixture
def run(recipe: Recipe, tmp_path: Path) -> RunFolder:
    """A finished run."""
    run = RunFolder(tmp_path / "run")
    run.write("resolved.json", recipe.resolved())
    run.write_plan(PLAN)
    run.write("opened.json", {"a": {"patient": "p", "for": ["training"]}, "b": {"patient": "q", "for": ["scoring"]}})
    run.write("plugins.json", {"plugins": []})
    write_csv([Row("b", "left", 0.5, 1.0, 1.0, 0.5, 1.0, 1.0)], run.path / "scores.csv")
    (run.path / "predictions").mkdir()
    (run.path / "predictions" / "b.nii").write_bytes(b"prediction")
    for name in ("weights.json", "weights.safetensors"):
        (run.path / name).write_bytes(b"weights")
    run.finish(6, {"dice": 0.5})
    return run


def read_all(run: RunFolder) -> None:
    """Read what `compare`, `train --resume` and `predict` read of a run."""
    for name in ("resolved.json", "plan.json", "opened.json", "plugins.json", "finished.json"):
        run.read(name)
    assert run.finished and run.scores


def test_a_run_is_read_as_it_was_written(run: RunFolder, recipe: Recipe) -> None:
    read_all(run)
    assert run.read("resolved.json") == json.loads(json.dumps(recipe.resolved()))
    assert run.read("plan.json") == PLAN and run.damaged_files() == []
    assert set(run.read("finished.json")["sha256"]) >= {"scores.csv", "plan.json", "predictions/b.nii", "opened.json"}


def test_every_flipped_bit_of_a_run_is_one_fault_that_names_the_file(run: RunFolder) -> None:
    files = sorted(path for path in run.path.rglob("*") if path.is_file() and not path.name.startswith("weights"))
    chance = random.Random(0)
    for path in files:
        whole = path.read_bytes()
        for bit in chance.sample(range(8 * len(whole)), 8):
            text = bytearray(whole)
            text[bit // 8] ^= 1 << bit % 8
            path.write_bytes(text)
            with pytest.raises(FaultsError) as caught:
                read_all(run)
            assert len(caught.value.faults) == 1 and path.name in caught.value.faults[0], (path, bit)
            assert "damaged" in caught.value.faults[0] and ("copy" in str(caught.value) or "again" in str(caught.value))
        path.write_bytes(whole)
    read_all(run)


@pytest.mark.parametrize("name", ["resolved.json", "plan.json", "opened.json", "plugins.json", "finished.json"])
def test_a_file_of_an_earlier_version_is_read_and_one_of_another_shape_is_one_fault(
    run: RunFolder, recipe: Recipe, name: str
) -> None:
    path = run.path / name
    plain = run.read(name)
    path.with_suffix(".sha256").unlink(missing_ok=True)
    path.write_text(json.dumps(plain))
    assert run.read(name) == plain
    for spoilt in ("", "{", "[]", "3", "null", '"x"', "[" * 100_000, path.read_text()[:-2]):
        path.write_text(spoilt)
        with pytest.raises(RecipeError) as caught:
            run.read(name)
        [fault] = caught.value.faults
        assert fault.startswith(f"{path}: damaged") and ("new run" in fault or "--resume" in fault)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plan.json", {"planned": 3}), ("plan.json", {"planned": {"patch_size": "x"}}), ("plan.json", {"training": []}),
        ("plan.json", {"content": {"a": 1}}), ("opened.json", {"a": 3}), ("opened.json", {"a": {"for": []}}),
        ("opened.json", {"a": {"patient": "a", "for": "training"}}), ("plugins.json", {}),
        ("plugins.json", {"plugins": [3]}), ("plugins.json", {"plugins": [{"name": "networks.x"}]}),
        ("finished.json", {"sha256": []}), ("finished.json", {"scores": 3}),
    ],
)  # fmt: skip
def test_values_of_other_types_are_one_fault(run: RunFolder, name: str, content: object) -> None:
    (run.path / name).with_suffix(".sha256").unlink(missing_ok=True)
    (run.path / name).write_text(json.dumps(content))
    with pytest.raises(RecipeError, match=rf"{name}: damaged"):
        run.read(name)


def test_a_key_that_is_missing_is_named(run: RunFolder) -> None:
    with pytest.raises(RecipeError, match=r"plan\.json: damaged \(it lacks patients\)"):
        run.read("plan.json", "dataset", "patients")


@contextmanager
def opened(recipe: Recipe, path: Path, recorder, *, resume: bool = False) -> Iterator[RunFolder]:
    with RunFolder.open(recipe, path, resume, recorder) as run:
        yield run


def test_a_run_that_is_trained_cannot_be_begun_or_resumed(recipe: Recipe, tmp_path: Path, recorder) -> None:
    path = tmp_path / "run"
    with opened(recipe, path, recorder) as run:
        assert not run.begun
        run.write("resolved.json", recipe.resolved())
        for resume in (False, True):
            refused = pytest.raises(DataError, match=r"in use by process .*training there since")
            with refused, opened(recipe, path, recorder, resume=resume):
                pass
    with pytest.raises(RecipeError, match="holds a run already"), opened(recipe, path, recorder):
        pass
    with opened(recipe, path, recorder, resume=True) as run:
        assert run.begun
    assert not (path / LOCK).exists()


def test_a_finished_run_needs_no_claim(run: RunFolder, recipe: Recipe, recorder) -> None:
    with claim(run.path, "training"), opened(recipe, run.path, recorder, resume=True) as again:
        assert again.finished


def test_a_finished_run_without_its_results_says_so(run: RunFolder, recipe: Recipe, recorder) -> None:
    (run.path / "weights.safetensors").write_bytes(b"weightt")
    refused = pytest.raises(RecipeError, match=r"weights\.safetensors: damaged.*delete finished\.json")
    with refused, opened(recipe, run.path, recorder, resume=True):
        pass
    (run.path / "weights.safetensors").unlink()
    refused = pytest.raises(RecipeError, match=r"weights\.safetensors are missing.*--resume")
    with refused, opened(recipe, run.path, recorder, resume=True):
        pass


def test_predictions_may_be_removed_and_scores_may_not(run: RunFolder) -> None:
    (run.path / "predictions" / "b.nii").unlink()
    assert run.scores and run.damaged_files() == []
    (run.path / "scores.csv").unlink()
    with pytest.raises(DataError, match=r"scores\.csv: is missing"):
        assert run.scores


def test_what_a_killed_training_left_is_removed(recipe: Recipe, tmp_path: Path, recorder, monkeypatch) -> None:
    checkpoints = tmp_path / "run" / "checkpoints"
    with suppress(ZeroDivisionError), whole_file(checkpoints / "iteration_0000010.safetensors") as partial:
        raise ZeroDivisionError
    partial.touch()
    monkeypatch.setattr("wsseg.core.files.is_running", lambda pid, since: False)
    with opened(recipe, tmp_path / "run", recorder):
        assert not list(checkpoints.iterdir())


def test_checkpoints_without_a_recipe_are_not_continued(recipe: Recipe, tmp_path: Path, recorder) -> None:
    checkpoint = tmp_path / "run" / "checkpoints" / "iteration_0000010.json"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    for resume in (False, True):
        refused = pytest.raises(RecipeError, match=r"resolved\.json: is missing.*another --run-dir")
        with refused, opened(recipe, tmp_path / "run", recorder, resume=resume):
            pass


def test_names_that_are_not_utf_8_are_written_and_read(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run\udce9")
    run.write("resolved.json", {"data": {"root": "a\udce9ä"}})
    assert run.read("resolved.json") == {"data": {"root": "a\udce9ä"}}
    run.write("opened.json", {"ä": {"patient": "p", "for": []}})
    assert run.read("opened.json") == {"ä": {"patient": "p", "for": []}}


def test_data_have_changed_is_said_with_the_cases(run: RunFolder) -> None:
    run.check_plan(PLAN)
    with pytest.raises(RecipeError, match=r"the data have changed .*\(content: changed a, new c; fold\)"):
        run.check_plan(PLAN | {"content": {"a": "y", "c": "z"}, "fold": 1})
