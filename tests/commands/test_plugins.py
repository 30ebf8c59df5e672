"""Terms, networks and fusion blocks from outside the package: a file, or an installed package."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import wsseg as api
from wsseg.cli import app
from wsseg.commands._candidates import Candidate, plan_tasks
from wsseg.core.errors import RecipeError
from wsseg.recipe.outside import use_files
from wsseg.recipe.reading import read_recipe

TERM = '''"""Total variation."""
from pydantic import PositiveFloat
from wsseg.core.contracts import Step, Term, TermSetting

class {name}(Term):
    """Neighbouring voxels agree.

    Args:
        power: Exponent of the difference, above 0.
    """

    def __init__(self, setting: TermSetting, *, power: PositiveFloat = 1.0) -> None:
        super().__init__(setting)
        self.power = power

    def forward(self, step: Step):
        outputs = step.outputs.values()
        return sum((o.logits.softmax(1).diff(dim=2).abs() ** self.power).mean() for o in outputs)
'''
NETWORK = '''"""A U-Net of one's own."""
from pydantic import PositiveInt
from wsseg.networks.unet import Unet

class OwnUnet(Unet):
    """A narrow U-Net."""

    def __init__(self, setting, *, features: PositiveInt = 4) -> None:
        super().__init__(setting, features=features, levels=2)
'''
SHORT = ("training.iterations=2", "training.validate_every=0", "supervision.prototype_contrast.weight=0")


def wsseg(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def term(tmp_path: Path) -> Path:
    path = tmp_path / "own_tv.py"
    path.write_text(TERM.format(name="OwnTv"))
    return path


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "own_unet.py"
    path.write_text(NETWORK)
    return path


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with an entry point, as pip leaves one behind."""
    site = tmp_path / "site"
    (site / "lab_terms").mkdir(parents=True)
    (site / "lab_terms/__init__.py").write_text("")
    (site / "lab_terms/smooth.py").write_text(TERM.format(name="LabSmooth"))
    info = site / "lab_terms-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-terms\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[wsseg.supervision]\nlab_smooth = lab_terms.smooth:LabSmooth\n")
    monkeypatch.syspath_prepend(str(site))
    yield site


def test_files_train_and_predict_and_are_asked_for_again(
    make_dataset, make_recipe, tmp_path: Path, term: Path, network: Path
) -> None:
    root, run = make_dataset(), tmp_path / "run"
    recipe = make_recipe(root)
    words = [
        *SHORT,
        "networks.ct={use: own_unet, reads: [ct], features: 4}",
        "supervision.own_tv={weight: 0.1, power: 2}",
    ]
    both = ["--plugin", term, "--plugin", network]
    wsseg("train", recipe, *words, "--run-dir", run, *both)
    kept = {record["name"]: record for record in json.loads((run / "plugins.json").read_text())["plugins"]}
    assert set(kept) == {"networks.own_unet", "supervision.own_tv"}
    assert all(len(record["sha256"]) == 64 for record in kept.values())
    assert (run / "plugins/own_tv.py").read_bytes() == term.read_bytes()
    assert "plugin.supervision.own_tv" in (run / "record.jsonl").read_text()
    assert "sha256" in (run / "weights.json").read_text()

    copy = run / "plugins/own_unet.py"
    text = wsseg("predict", run, root / "imagesTs", tmp_path / "out", code=2)
    assert "networks.own_unet" in text and f"--plugin {copy}" in text and "own_tv" not in text, "no term predicts"
    wsseg("predict", run, root / "imagesTs", tmp_path / "out", "--plugin", copy)
    assert (tmp_path / "out/case_100.nii.gz").is_file()

    network.write_text(NETWORK + "# changed\n")
    text = wsseg("predict", run, root / "imagesTs", tmp_path / "out", "--plugin", network, code=2)
    assert "other code" in text and f"--plugin {copy}" in text
    text = wsseg("train", recipe, *words, "--run-dir", run, "--resume", *both, code=2)
    assert "networks.own_unet" in text and "other code" in text
    text = wsseg("train", recipe, *words, "--run-dir", run, "--resume", code=2)
    assert "--plugin" in text and "own_tv" in text


def test_an_installed_package_trains(make_dataset, make_recipe, tmp_path: Path, installed: Path) -> None:
    recipe, run = make_recipe(make_dataset()), tmp_path / "run"
    wsseg("train", recipe, *SHORT, "supervision.lab_smooth.weight=0.1", "--run-dir", run)
    (record,) = json.loads((run / "plugins.json").read_text())["plugins"]
    assert (record["name"], record["version"], record["source"]) == ("supervision.lab_smooth", "1.2", "lab-terms")
    assert len(record["sha256"]) == 64


def test_a_recipe_without_plug_ins_from_outside_keeps_its_fingerprint(make_recipe, tmp_path: Path, term: Path) -> None:
    recipe = make_recipe(tmp_path)
    before = read_recipe(recipe).fingerprint()
    with use_files([term]):
        assert read_recipe(recipe).fingerprint() == before
        assert read_recipe(recipe, ["supervision.own_tv.weight=1"]).fingerprint() != before
    with pytest.raises(RecipeError, match="own_tv"):
        read_recipe(recipe, ["supervision.own_tv.weight=1"])


def test_a_comparison_hands_plug_ins_on_to_its_runs(make_recipe, tmp_path: Path, term: Path) -> None:
    recipe = make_recipe(tmp_path)
    candidates = [Candidate("a", recipe, ("supervision.own_tv.weight=1",)), Candidate("b", recipe)]
    with use_files([term]):
        tasks = plan_tasks(candidates, tmp_path / "out", 1, 1)
    for task in tasks.values():
        words = task.steps[0]
        assert words[words.index("--plugin") + 1] == str(term)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("gated_crf.py", TERM.format(name="GatedCrf"), "rename"),
        ("own.py", "import nothing_like_this", "ModuleNotFoundError"),
        ("own.py", "a = 1\nb = a / 0\n", ":2: ZeroDivisionError"),
        ("own.py", "class Own: ...", "no class Own that is a Term, Network or Fusion"),
        ("own.py", "class Other: ...", "no class Own"),
        ("own.txt", "", "edge_loss.py"),
    ],
)
def test_faulty_files_end_in_one_line(make_recipe, tmp_path: Path, name: str, text: str, expected: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    output = wsseg("check", make_recipe(tmp_path), "--plugin", path, code=2)
    assert output.startswith(f"error: --plugin {path}") and expected in output and output.count("\n") == 1


def test_two_of_one_name_are_refused(make_recipe, tmp_path: Path, term: Path, installed: Path) -> None:
    again = tmp_path / "other" / term.name
    again.parent.mkdir()
    again.write_text(term.read_text())
    with pytest.raises(RecipeError, match="another file of that name"), use_files([term, again]):
        pass
    taken = tmp_path / "lab_smooth.py"
    taken.write_text(TERM.format(name="LabSmooth"))
    with pytest.raises(RecipeError, match="rename"), use_files([taken]):
        pass


def test_a_recipe_cannot_name_a_path(make_recipe, tmp_path: Path, term: Path) -> None:
    for use in (str(term), "../own_tv", "own_tv.OwnTv", "lab_terms.smooth:LabSmooth"):
        with pytest.raises(RecipeError, match="there is no"):
            read_recipe(make_recipe(tmp_path), [f"supervision.x={{use: '{use}'}}"])


def test_files_are_named_from_python_too(make_recipe, tmp_path: Path) -> None:
    missing = tmp_path / "missing.py"
    recipe = make_recipe(tmp_path)
    calls = (
        lambda: api.train(recipe, plugins=[missing]),
        lambda: api.predict(tmp_path, tmp_path, tmp_path / "out", plugins=[missing]),
        lambda: api.compare([recipe, tmp_path], plugins=[missing]),
    )
    for call in calls:
        with pytest.raises(RecipeError, match=f"--plugin {missing}"):
            call()
