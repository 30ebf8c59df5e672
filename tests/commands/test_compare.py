"""wsseg compare: the runs it trains, the inputs it refuses, and a comparison from end to end."""

import csv
import json
import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from wsseg.cli import app
from wsseg.commands import _illustrate, compare
from wsseg.commands._candidates import plan_tasks, read_candidates
from wsseg.commands._runs import default_reference, read_runs
from wsseg.commands.compare import ComparisonRequest
from wsseg.core.errors import DataError, RecipeError
from wsseg.evaluation.comparison import paired
from wsseg.evaluation.comparison.paired import ScoredRun
from wsseg.evaluation.scoring import Row

RUNNER = CliRunner()


def wsseg(*words: object, code: int = 0):
    result = RUNNER.invoke(app, [str(word) for word in words])
    assert result.exit_code == code, f"{result.output}\n{result.stderr}\n{result.exception!r}"
    return result


@pytest.fixture
def two(make_dataset, make_recipe, tmp_path: Path) -> tuple[Path, Path]:
    """Two recipes on one dataset: strokes and masks."""
    root = make_dataset()
    weak = make_recipe(root, "weak.yaml")
    full = make_recipe(root, "full.yaml")
    full.write_text(full.read_text().replace("name: test", "name: full").replace("scribblesTr", "labelsTr"))
    return weak, full


def test_candidates_are_recipes_with_their_own_and_common_overrides(two) -> None:
    weak, full = two
    candidates = read_candidates(
        [
            str(weak), f"CRF off: {weak} supervision.gated_crf.weight=0", str(full), "training.iterations=4",
            f"lr=0.1: {weak} training.lr=0.1", "supervision.gated_crf.weight={to: 0.1, over: 0.2}",
        ]
    )  # fmt: skip
    assert [candidate.name for candidate in candidates] == ["test", "CRF off", "full", "lr=0.1"]
    for_all = ("training.iterations=4", "supervision.gated_crf.weight={to: 0.1, over: 0.2}")
    assert candidates[1].overrides == (*for_all, "supervision.gated_crf.weight=0")
    folded = read_candidates([str(weak), f"a long\none: {weak} training.lr=0.1\n    supervision.gated_crf.weight=0"])[1]
    assert folded.overrides == ("training.lr=0.1", "supervision.gated_crf.weight=0")
    assert candidates[2].overrides == for_all


def test_all_faults_of_the_arguments_at_once(two, tmp_path: Path) -> None:
    weak, _ = two
    with pytest.raises(RecipeError) as caught:
        read_candidates([str(weak), str(weak), str(tmp_path / "nowhere.yaml"), f"{weak} nets.ct=1", f"x: {weak} 'a"])
    text = "\n".join(caught.value.faults)
    assert "nowhere.yaml: cannot be read" in text
    assert "nets" in text
    assert "cannot be split into words" in text
    assert "two recipes are called 'test'" in text
    with pytest.raises(RecipeError, match="at least two"):
        read_candidates([str(weak)])


def test_every_candidate_gets_the_same_folds_and_seeds(two, tmp_path: Path) -> None:
    tasks = plan_tasks(read_candidates([str(word) for word in two]), tmp_path / "out", folds=2, seeds=2)
    assert set(tasks) == {(name, fold, seed) for name in ("test", "full") for fold in (0, 1) for seed in (1, 2)}
    task = tasks["full", 1, 2]
    assert task.folder == tmp_path / "out" / "full" / "fold_1" / "seed_2"
    assert {"data.fold=1", "seed=2", "--resume", "--run-dir"} <= set(task.steps[0])
    assert task.done == task.folder / "finished.json"
    assert not any(word.startswith("name=") for word in task.steps[0])


def test_candidates_of_one_recipe_have_names_of_their_own_in_mlflow(two, tmp_path: Path) -> None:
    weak, _ = two
    candidates = read_candidates([str(weak), f"CRF off: {weak} supervision.gated_crf.weight=0"])
    (task,) = [
        task for (name, _, _), task in plan_tasks(candidates, tmp_path / "out", 1, 1).items() if name == "CRF off"
    ]
    assert "name=CRF_off" in task.steps[0]


def test_recipes_that_are_no_fair_comparison_are_refused(two, tmp_path: Path) -> None:
    weak, full = two
    candidates = read_candidates([str(weak), f"{full} training.iterations=7 data.folds=2"])
    with pytest.raises(RecipeError) as caught:
        plan_tasks(candidates, tmp_path / "out", folds=3, seeds=1, against="ful")
    text = "\n".join(caught.value.faults)
    assert "training.iterations differs (test: 6, full: 7)" in text and "e.g. training.iterations=6" in text
    assert "data.folds differs" in text
    assert "--against ful: " in text and "'full'" in text, "reported before anything is trained"
    assert "--folds 3: full has data.folds=2" in text


OPENED = {"b": {"patient": "b", "for": ["scoring"]}}


def test_seeds_that_would_have_no_partner_are_refused_before_training(two, tmp_path: Path, make_run) -> None:
    weak, full = two
    candidates = read_candidates([str(weak), f"{full} seed=5"])
    with pytest.raises(RecipeError, match=r"seed differs \(test: 1, full: 5\); .*seed=1"):
        plan_tasks(candidates, tmp_path / "out", folds=1, seeds=2)
    run = make_run(tmp_path / "run", full, OPENED, 0.5, ["data.fold=1"])
    with pytest.raises(RecipeError, match="full: has fold 1 seed 1, but test has fold 0 seed 1, fold 0 seed 2"):
        plan_tasks(read_candidates([str(weak), str(run)]), tmp_path / "out", folds=1, seeds=2)


def test_data_of_a_finished_run_may_have_moved_but_not_be_others(two, tmp_path: Path, make_run) -> None:
    weak, full = two
    opened = {f"case_{n:03d}": {"patient": f"case_{n:03d}", "for": ["scoring"]} for n in range(6)}
    moved = make_run(tmp_path / "moved", full, opened, 0.5, ["data.root=/scratch/made"])
    plan = json.loads((moved / "plan.json").read_text()) | {"training": {}}
    (moved / "plan.json").write_text(json.dumps(plan))
    assert len(plan_tasks(read_candidates([str(weak), str(moved)]), tmp_path / "out", 1, 1)) == 1
    plan["held_out"]["case_006"] = "case_006"
    (moved / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(RecipeError, match=r"full: is of other cases or patients \(/scratch/made\) .*: case_006"):
        plan_tasks(read_candidates([str(weak), str(moved)]), tmp_path / "out", 1, 1)
    with pytest.raises(RecipeError, match=r"data\.root differs"):
        plan_tasks(read_candidates([str(weak), f"{full} data.root=/scratch/made"]), tmp_path / "out", 1, 1)


def test_ctrl_c_says_how_to_go_on(two, tmp_path: Path, monkeypatch) -> None:
    def stopped(*words: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, "compare", stopped)
    output = wsseg("compare", *two, "--out", tmp_path / "out", code=130).stderr
    assert "finished runs are kept; repeat the command" in output


def test_surface_tolerances_that_differ_are_refused(two, tmp_path: Path) -> None:
    weak, full = two
    with pytest.raises(RecipeError, match=r"evaluation\.tolerance_mm differs"):
        plan_tasks(read_candidates([str(weak), f"{full} evaluation.tolerance_mm=3"]), tmp_path / "out", 1, 1)


def test_a_run_that_finished_under_another_recipe_is_not_taken_for_this_one(two, tmp_path: Path, make_run) -> None:
    out = tmp_path / "out"
    make_run(out / "test" / "fold_0" / "seed_1", two[0], OPENED, 0.5)
    words = [str(word) for word in two]
    assert plan_tasks(read_candidates(words), out, 1, 1)["test", 0, 1].done.is_file()
    with pytest.raises(RecipeError) as caught:
        plan_tasks(read_candidates([*words, "training.iterations=9", "prediction.mirror=true"]), out, 1, 1)
    (fault,) = caught.value.faults
    assert "seed_1: has finished with another recipe (prediction.mirror=False, now True, training.iterations=6" in fault
    assert "choose another --out" in fault
    plan_tasks(
        read_candidates([*words, "tracking.experiment=x", "data.root=/elsewhere"]), out, 1, 1
    )  # decides no score


def test_a_directory_of_several_recipes_or_with_a_run_twice_is_refused(two, tmp_path: Path, make_run) -> None:
    weak, full = two
    runs = tmp_path / "runs"
    make_run(runs / "a", weak, OPENED, 0.5)
    make_run(runs / "b", weak, OPENED, 0.6)
    make_run(runs / "c", weak, OPENED, 0.7, ["supervision.prototype_contrast.weight=0", "data.fold=1"])
    with pytest.raises(RecipeError) as caught:
        plan_tasks(read_candidates([f"all: {runs}", str(full)]), tmp_path / "out", 1, 1)
    text = "\n".join(caught.value.faults)
    assert f"{runs / 'b'}: is of the same fold and seed as {runs / 'a'}; all needs one of them" in text
    assert f"{runs / 'c'}: is of another recipe than {runs / 'a'} (supervision.prototype_contrast.weight=0.1" in text


def test_a_run_that_this_version_cannot_read_is_named(two, tmp_path: Path, make_run) -> None:
    old = make_run(tmp_path / "old", two[0], OPENED, 0.5)
    plain = json.loads((old / "resolved.json").read_text()) | {"colour": "red"}
    (old / "resolved.json").write_text(json.dumps(plain))
    with pytest.raises(RecipeError, match=r"old/resolved\.json: colour"):
        read_candidates([str(old), str(two[1])])


def test_names_whose_folders_would_be_one_are_refused(two, tmp_path: Path) -> None:
    candidates = read_candidates([f"CRF: {two[0]}", f"+ CRF: {two[1]}", f"++: {two[0]}", f"figures: {two[0]}"])
    with pytest.raises(RecipeError) as caught:
        plan_tasks(candidates, tmp_path / "out", 1, 1)
    text = "\n".join(caught.value.faults)
    assert f"'+ CRF': its runs would lie in {tmp_path / 'out' / 'CRF'}, as 'CRF' would" in text
    assert "'++': its runs" in text and "'figures': its runs" in text


def test_a_dataset_without_dense_labels_is_refused_before_training(two, tmp_path: Path) -> None:
    (tmp_path / "made/imagesTr/extra.nii.gz").touch()
    (tmp_path / "made/labelsTs/extra_seg.nii.gz").touch()
    for path in (tmp_path / "made" / "labelsTr").iterdir():
        path.unlink()
    words = [f"a: {two[0]}", f"b: {two[0]} training.lr=0.1", "--out", tmp_path / "out"]
    result = wsseg("compare", *words, code=2)
    assert all(word in result.stderr for word in ("labelsTr", "dense label", "wsseg audit"))
    for name in ("imagesTr/extra.nii.gz", "labelsTs/extra_seg.nii.gz"):
        assert result.stdout.count(f"not used: {tmp_path / 'made' / name}") == 1, (
            "each file is named once for all recipes"
        )
    assert not (tmp_path / "out").exists()


def test_runs_at_hand_are_looked_at_before_others_are_trained(two, tmp_path: Path, make_run) -> None:
    weak, full = two
    leak = make_run(tmp_path / "leak", full, {"b": {"patient": "b", "for": ["scoring", "training"]}}, 0.5)
    empty = make_run(tmp_path / "empty", full, OPENED, 0.5)
    (empty / "scores.csv").unlink()
    output = wsseg("compare", weak, f"leak: {leak}", f"empty: {empty}", "--out", tmp_path / "out", code=2).stderr
    assert "was trained on b" in output and "has no scores.csv" in output and "data.fold" in output
    assert not (tmp_path / "out").exists()


def test_a_run_that_learned_from_what_it_is_scored_on_is_refused_with_a_reason(two, tmp_path: Path, make_run) -> None:
    weak, full = two
    clean = {"a": {"patient": "a", "for": ["training"]}, "b": {"patient": "b", "for": ["scoring"]}}
    leak = {**clean, "b": {"patient": "b", "for": ["scoring", "training"]}}
    fine = make_run(tmp_path / "fine", full, clean, 0.5)
    leaking = make_run(tmp_path / "leaking", weak, leak, 0.9)
    unfinished = make_run(tmp_path / "unfinished", weak, clean, 0.9)
    (unfinished / "finished.json").unlink()
    ((run, path),) = read_runs({"full": [fine]})
    assert (run.arm, run.fold, run.seed, path) == ("full", 0, 1, fine)
    with pytest.raises(DataError) as caught:
        read_runs({"full": [fine], "weak": [leaking, unfinished]})
    text = "\n".join(caught.value.faults)
    assert f"{leaking}: was trained on b, on which it is scored" in text
    assert f"{unfinished}: has not finished" in text
    assert wsseg("compare", fine, leaking, "--out", tmp_path / "out", code=2).stderr.count("error:") == 1


def test_the_reference_is_what_learned_from_masks(two, tmp_path: Path, make_run) -> None:
    weak, full = two
    clean = {"b": {"patient": "b", "for": ["scoring"]}}
    places = {
        "weak": [make_run(tmp_path / "w", weak, clean, 0.1)],
        "full": [make_run(tmp_path / "f", full, clean, 0.1)],
    }
    assert default_reference(places) == "full"
    assert default_reference({"weak": places["weak"]}) == "weak"


def test_a_report_is_written_by_one_call_at_a_time(two, tmp_path: Path, make_run, recorder) -> None:
    clean = {name: {"patient": name, "for": ["scoring"]} for name in "abc"}
    runs = [str(make_run(tmp_path / recipe.stem, recipe, clean, 0.5)) for recipe in two]
    out, refused = tmp_path / "out", []
    request = ComparisonRequest(candidates=read_candidates(runs), out=out)

    def again(comparison: object) -> list:
        with pytest.raises(DataError) as caught:
            compare.compare(request, "", recorder)
        refused.append(caught.value.faults[0])
        return []

    compare.compare(request, "", recorder, again)
    assert f"{out}: in use by process {os.getpid()}" in refused[0] and "comparing there since" in refused[0]


def stands_in_mlflow(out: Path) -> None:
    """The comparison is a run that shows its means, and each run that was compared is its child."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    every = client.search_runs(experiments)
    (parent,) = [run for run in every if run.info.run_name.startswith("comparison: test, full on made")]
    assert {"dice/test", "dice/full", "hd95_mm/full"} <= set(parent.data.metrics)
    children = [run for run in every if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert sorted((run.info.run_name, run.data.params["data.fold"]) for run in children) == [
        (f"{name}, fold {fold}, seed 1", fold) for name in ("full", "test") for fold in "01"
    ]
    names = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert names == {"report.html", "report.md", "scores.csv", "figures"}


@pytest.mark.slow
def test_from_recipes_to_a_report_and_on_again(two, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    words = [*two, "--out", out, "--folds", "2", "supervision.gated_crf.weight=0"]
    monkeypatch.setattr("sys.argv", ["/somewhere/wsseg", "compare", *map(str, words)])
    output = wsseg("compare", *words).stdout
    assert "report.html" in output and "% of full" in output
    runs = sorted(path.parent for path in out.rglob("finished.json"))
    assert len(runs) == 4
    begun = {run: (run / "weights.safetensors").stat().st_mtime_ns for run in runs}
    with (out / "scores.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert {(line["recipe"], line["fold"]) for line in lines} == {(r, f) for r in ("test", "full") for f in ("0", "1")}
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2 + 6  # differences, curves, three cases an arm; no minutes known
    assert not re.search(r"""(src|href)=["'](?!data:|#)|url\(|@import""", page), "it needs no network"
    for words_of in ("Result", "Paired differences", "Method", f"wsseg compare {two[0]}"):
        assert words_of in page
    for link in [line for line in (out / "report.md").read_text().splitlines() if line.startswith("![")]:
        assert (out / link.rpartition("(")[2].rstrip(")")).is_file()
    stands_in_mlflow(out)
    wsseg("compare", *words)
    assert {run: (run / "weights.safetensors").stat().st_mtime_ns for run in runs} == begun, "nothing was trained twice"


def scored(arm: str, dice: dict[str, float], seed: int) -> ScoredRun:
    rows = tuple(Row(case, "left", d, 9 * d, d, d, 1.0, 1.0) for case, d in dice.items())
    return ScoredRun(arm, 0, seed, rows, {case: case for case in dice})


def test_cases_to_look_at_are_ranked_by_the_mean_over_seeds(tmp_path: Path) -> None:
    dice = {1: {"a": 0.9, "b": 0.5, "c": 0.6}, 2: {"a": 0.3, "b": 0.5, "c": 0.9}}  # a: best of one, worst of the other
    runs = [(scored(arm, dice[seed], seed), tmp_path / f"{arm}{seed}") for arm in ("x", "y") for seed in (1, 2)]
    shown = _illustrate.cases_to_show(paired.compare([run for run, _ in runs], "x"), runs)
    assert [entry.title for entry in shown[:3]] == [
        "x, worst of 3: b, Dice 0.500 (seed 1), mean of its seeds 0.500",
        "x, median of 3: a, Dice 0.900 (seed 1), mean of its seeds 0.600",
        "x, best of 3: c, Dice 0.600 (seed 1), mean of its seeds 0.750",
    ]
    assert {entry.run for entry in shown} == {tmp_path / "x1", tmp_path / "y1"}


def test_runs_whose_data_are_gone_and_with_odd_names_are_compared_all_the_same(two, tmp_path: Path, make_run) -> None:
    weak, full = two
    opened = {f"case_{n}": {"patient": f"p{n}", "for": ["scoring"]} for n in range(8)}
    words = []
    for name, recipe, dice in ((r"+ a $\foo$ <b>|[1]", weak, 0.4), ("_full", full, 0.5)):
        run = make_run(tmp_path / recipe.stem, recipe, opened, dice, ["data.root=/gone"])
        words.append(f"{name}: {run}")
    out = tmp_path / "out"
    wsseg("compare", *words, "--out", out)
    page, text = (out / "report.html").read_text(), (out / "report.md").read_text()
    assert "+ a $\\foo$ &lt;b&gt;|[1]: Dice 0.400, 80.0 % of _full (0.500); difference -0.100, 95 % interval" in page
    assert "Not drawn: /gone: no such folder" in page and "<b>" not in page
    assert "\\+ a \\$\\\\foo\\$ \\<b\\>\\|\\[1\\]: Dice" in text
    assert "_full: labelsTr" in page and "no record.jsonl" in page
    assert page.count("data:image/png;base64,") == 1, "the differences; no curves, minutes or cases are to be had"


def test_minutes_of_another_set_of_a_phantom_are_those_of_its_receipt(
    two, tmp_path: Path, monkeypatch, make_run
) -> None:
    folder = tmp_path / "made" / "annotations" / "points"
    folder.mkdir(parents=True)
    receipt = {"by_case": {"case_000": {"minutes": 2.5}, "case_001": {"minutes": 4}}}
    (folder / "annotation.json").write_text(json.dumps(receipt))
    monkeypatch.setattr(_illustrate, "find_root", lambda root, report: tmp_path / "made")
    run = make_run(tmp_path / "run", two[0], {}, 0.5, ["data.root=phantom:npc", "data.annotation=annotations/points"])
    (run / "plan.json").write_text(json.dumps({"training": {"case_000": "case_000", "case_007": "case_007"}}))
    assert _illustrate.annotation_minutes([run]) == 2.5
    receipt["by_case"]["case_000"] = {}
    (folder / "annotation.json").write_text(json.dumps(receipt))
    assert _illustrate.annotation_minutes([run]) is None, "a receipt without minutes tells none"


def test_minutes_of_masks_are_those_of_outlining_every_slice(make_dataset, tmp_path: Path, two, make_run) -> None:
    _, full = two
    run = make_run(tmp_path / "run", full, {}, 0.5)
    (run / "plan.json").write_text(json.dumps({"training": {"case_000": "case_000"}}))
    import nibabel as nib
    import numpy as np
    from scipy import ndimage

    label = np.asarray(nib.load(tmp_path / "made" / "labelsTr" / "case_000.nii.gz").dataobj)
    eight = np.ones((3, 3))
    outlines = sum(ndimage.label(label[:, :, z] == c, eight)[1] for z in range(label.shape[2]) for c in (1, 2))
    assert _illustrate.annotation_minutes([run]) == pytest.approx((30 + 3 * label.shape[2] + 30 * outlines) / 60)
