"""A recipe is data: what it says is checked before a volume is opened, all faults at once."""

import subprocess
import sys
from pathlib import Path

import pytest

from wsseg.core.errors import RecipeError
from wsseg.recipe.reading import read_recipe, recipe_from, typed_text
from wsseg.recipe.schema import Ramp
from wsseg.recipe.yaml_file import load_yaml

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
ALWAYS = ("iterations", "checkpoint_every", "validate_every"), ("root", "annotation", "patch_size", "fold")


def faults(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        read_recipe(path, overrides)
    return list(caught.value.faults)


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_that_comes_along_is_sound(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.name == path.stem
    assert path.read_text().startswith("# "), "a comment heads it"
    plain, _ = load_yaml(path)
    assert set(ALWAYS[0]) <= set(plain["training"]) and set(ALWAYS[1]) <= set(plain["data"])
    assert len(path.read_text().splitlines()) <= 80
    assert recipe_from(recipe.resolved()) == recipe


def test_all_recipes_are_there() -> None:
    names = {path.stem for path in RECIPES}
    assert {"npc_scribble", "npc_full", "npc_mutual", "npc_contrast"} <= names
    assert {f"{data}_{kind}" for data in ("sts", "acdc", "hippocampus") for kind in ("scribble", "full")} <= names


@pytest.fixture
def path(make_recipe, tmp_path: Path) -> Path:
    return make_recipe(tmp_path)


def test_every_fault_is_said_at_once_with_its_line_and_remedy(path: Path) -> None:
    found = faults(path, "training.iteration=5", "training.lr=fast", "data.folds=1", "nonsense", "data.fold=[1]")
    text = "\n".join(found)
    assert "command line: 'nonsense': write KEY=VALUE" in text
    assert "training.iteration: unknown key; did you mean 'iterations'?" in text
    assert "training.lr: input should be a valid number" in text and "got 'fast'" in text
    assert "data.folds: input should be greater than or equal to 2" in text
    assert "data.fold: " in text
    assert len(found) == 5


def test_faults_between_the_parts_are_found(path: Path) -> None:
    found = "\n".join(
        faults(
            path,
            "prediction.network=crss",
            "networks.cross.fuses=[ct, pet]",
            "supervision.gated_crf.weight={to: 1, from: 0.8, over: 0.5}",
            "supervision.gated_crf.radius=3",
            "supervision.modal_consistency.networks=[ct]",
            "data.fold=3",
            "networks.ct.levels=many",
        )
    )
    assert "no network 'crss'; did you mean 'cross'?" in found
    assert "networks.cross.fuses: no network 'pet'" in found
    assert "the ramp never reaches 1" in found
    assert "supervision.gated_crf.radius: unknown key; did you mean 'radius_mm'?" in found
    assert "compares networks but looks at 1" in found
    assert "data.fold: 3 is not one of the folds 0..2" in found
    assert "networks.ct.levels: " in found and "'many'" in found


def test_a_fault_in_the_file_names_its_line(path: Path) -> None:
    path.write_text(path.read_text().replace("use: unet, reads: [ct]", "use: unett, reads: [ct]"))
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "unett" in text)
    assert faults(path) == [f"{path}:{line}: networks.ct: there is no 'unett' in wsseg/networks; did you mean 'unet'?"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\nname: b\n", "stands twice"),
        ("a: &x 1\nb: *x\n", "anchors"),
        ("a: &-a [1]\nb: *-a\n", "anchors"),
        ("a: &a [*a]\n", "anchors"),
        ("<<: {a: 1}\nb: 2\n", "merge keys"),
        ("a: !!python/object/apply:os.getcwd []\n", "tag"),
        ("a: !mine 1\n", "tag"),
        ("a: !!binary aGk=\n", "tag"),
        ("a: !!set {x, y}\n", "tag"),
        ("[a, b]: 1\n", "a key must be a word"),
        ("a: 010\n", "'010'"),
        ("a: " + "[" * 20_000, "nested more than 50"),
        ("a: " + "{b: " * 20_000, "nested more than 50"),
        ("a: *b\n", "anchors"),
        ("a: &x\n", "anchors"),
        ("&a a: 1\n", "anchors"),
        ("- &ä [1]\n- *ä\n", "anchors"),
        ("<<: *a\n", "anchors"),
        ("a: 1\n---\nb: 1\n", "another document"),
        ("- 1\n", "no mapping"),
        ("a: [1\n", ":"),
        ("x" * 1_100_000, "larger than"),
    ],
)
def test_hostile_and_broken_files_end_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    found = faults(path)
    assert len(found) == 1 and said in found[0] and str(path) in found[0]


def test_yaml_means_what_people_mean(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("rate: 1e-3\nword: no\non: on\nnumber: 10\nyes_: true\ntime: 12:30\nhalf: .5\n")
    expected = {"rate": 0.001, "word": "no", "on": "on", "number": 10, "yes_": True, "time": "12:30", "half": 0.5}
    assert load_yaml(path)[0] == expected


@pytest.mark.parametrize("key", ["training.iterations", "seed", "data.folds", "training.lr", "evaluation.tolerance_mm"])
def test_true_is_no_number(path: Path, key: str) -> None:
    assert any(fault.startswith(f"command line: {key}: ") and "True" in fault for fault in faults(path, f"{key}=true"))


@pytest.mark.parametrize(
    "override",
    [
        "supervision.gated_crf.radius_mm=true", "supervision.gated_crf.radius_mm='4'",
        "supervision.gated_crf.stride=1.0", "supervision.gated_crf.stride=true", "supervision.gated_crf.stride='1'",
        "supervision.partial_loss.batch_dice=1", "supervision.partial_loss.batch_dice='true'",
        "supervision.partial_loss.batch_dice=no", "networks.ct.features=true", "networks.ct.levels=2.0",
        "prediction.mirror=no", "prediction.mirror=1", "prediction.mirror='true'", "data.spacing_mm=[true, 1, 1]",
        "data.patch_size=[16.0, 16, 8]", "data.fold=true", "data.folds=3.0", "supervision.gated_crf.radius_mm=.inf",
        "seed=1.0", "supervision.gated_crf.radius_mm=2026-01-01", "networks.ct.use=true", "training.optimizer=true",
        "supervision.gated_crf.weight=true", "supervision.gated_crf.weight={to: true}", "name=..", "name=.",
        "name=''",
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_a_fault_everywhere(path: Path, override: str) -> None:
    key = override.split("=")[0]
    found = [fault for fault in faults(path, override) if key.rsplit(".", 1)[0] in fault]
    assert len(found) >= 1 and "got" in found[0] and len(found[0]) < 300


def test_values_of_the_right_type_are_no_fault(path: Path) -> None:
    recipe = read_recipe(
        path,
        ["supervision.gated_crf.radius_mm=4", "data.augmentation={scale: [1, 2], mirror: [x], enabled: true}",
         "prediction.mirror=true", "name=.a..b"],
    )  # fmt: skip
    assert recipe.prediction.mirror is True


def test_a_fault_is_short_whatever_the_file_holds(path: Path) -> None:
    long = "x" * 500_000
    text = path.read_text()
    for line in (f"{long}: 1", f"seed: {long}", f'"{long}\\n": {{a: b}}'):
        path.write_text(text.replace("seed: 1", line))
        assert all(len(fault) < 1000 for fault in faults(path))


def test_aliases_that_would_grow_without_end_are_refused_at_once(path: Path) -> None:
    levels = "\n".join(f"l{n}: &-{n} [{', '.join([f'*-{n - 1}'] * 9) or 1}]" for n in range(1, 12))
    path.write_text(f"l0: &-0 [x]\n{levels}\n")
    assert faults(path) == [f"{path}:1: YAML anchors and merge keys are not read; write the values out"]


def test_reading_the_text_of_a_recipe_imports_no_torch() -> None:
    code = "import sys, wsseg.recipe.reading; sys.exit(any(m in sys.modules for m in ('torch', 'monai', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_recipe_written_with_overrides_keeps_its_comments(path: Path) -> None:
    path.write_text(path.read_text() + "# the last word\n")
    text = typed_text(path, ["training.lr=1e-4"], "why")
    assert text.startswith("# why\n") and "# the last word" in text and "lr: 0.0001" in text


def test_a_weight_is_overridden_from_the_command_line(path: Path) -> None:
    recipe = read_recipe(path, ["supervision.gated_crf.weight=0", "supervision.entropy.weight=0.2"])
    assert not recipe.supervision["gated_crf"].active
    assert recipe.supervision["entropy"].weight_at(0.5) == 0.2
    assert "did you mean 'gated_crf'" in faults(path, "supervision.gated_cfr.weight=0")[0]


def test_a_ramp_grows_from_nothing_to_its_value() -> None:
    ramp = Ramp.model_validate({"to": 2.0, "from": 0.2, "over": 0.4})
    values = [ramp.at(t / 100) for t in range(101)]
    assert values[19] == 0 and values[60:] == [2.0] * 41
    assert values == sorted(values)
    assert ramp.at(0.4) == pytest.approx(2 * 2.718281828 ** (-5 * 0.25))
    assert Ramp(to=1.0).at(0) == 1.0


def test_what_decides_the_weights_decides_the_fingerprint(path: Path) -> None:
    plain = read_recipe(path).fingerprint()
    assert read_recipe(path, ["training.validate_every=1", "tracking.experiment=x"]).fingerprint() == plain
    assert read_recipe(path, ["training.lr=0.1"]).fingerprint() != plain


FINGERPRINTS = {
    "npc_scribble": "2f6efeb534f9a0612919af01bc81469a9be6c9f91a6e4cb5629255f15a57a624",
    "npc_full": "79137aa6c575937fa6afec08aff25b0b781e259b399d25f96d934ada361f0fcf",
    "acdc_scribble": "4fe4c9e37e2ab7938dfe84cdb5708374ec67b02ec9e39a33999280bd03e0fa76",
}
"""As runs of commit a76aa73 noted them in their checkpoints."""


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_the_fingerprint_of_a_recipe_is_that_of_runs_made_before(name: str) -> None:
    path = next(path for path in RECIPES if path.stem == name)
    assert read_recipe(path).fingerprint() == FINGERPRINTS[name]


def test_the_old_name_of_a_key_is_a_fault_that_names_the_new_one(path: Path) -> None:
    path.write_text(path.read_text().replace("networks: [ct, mr]", "on: [ct, mr]"))
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "on: [ct" in text)
    remedy = "supervision.gated_crf.on: is now called 'networks'; write networks: [ct, mr]"
    assert faults(path) == [f"{path}:{line}: {remedy}"]
    assert faults(path, "supervision.gated_crf.on=[ct, mr]") == [f"command line: {remedy}"]


def test_a_run_made_with_the_old_name_of_a_key_is_read(path: Path) -> None:
    recipe = read_recipe(path)
    before = recipe.resolved()
    for entry in before["supervision"].values():
        entry["on"] = entry.pop("networks")
    assert recipe_from(before) == recipe
    assert recipe_from(before).fingerprint() == recipe.fingerprint()


@pytest.mark.parametrize(
    ("override", "place"),
    [
        ("data.patient=^(P[0-9]+", "data.patient: not a regular expression"),
        ("data.patient=(a{99999999999999999999})", "data.patient: not a regular expression"),
        (f"data.patient={'(' * 5000}", "data.patient: not a regular expression"),
        ('data.root="a\\0b"', "data.root: 'a\\x00b' holds a NUL"),
        (f"data.root={'x' * 300}", "data.root"),
        (f"data.annotation={'x/' * 3000}", "data.annotation"),
        ("data.annotation=''", "data.annotation: is empty"),
        ("tracking.experiment=''", "tracking.experiment"),
        (f"tracking.experiment={'x' * 300}", "tracking.experiment: has 300 letters"),
        (f"name={'x' * 300}", "name: has 300 letters"),
    ],
)
@pytest.mark.parametrize("other", [(), ("training.iterations=0",), ("training.lr=fast", "data.fold=9")])
def test_no_setting_hides_the_fault_of_another(path: Path, override: str, place: str, other: tuple[str, ...]) -> None:
    found = faults(path, override, *other)
    assert len([fault for fault in found if fault.startswith(f"command line: {place}")]) == 1, found
    assert len(found) == 1 + len(other)
