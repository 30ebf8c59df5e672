"""What a recipe leaves out is planned from its data, within its budget, and stays planned."""

import gc
import json
import math
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from typer.testing import CliRunner

from wsseg.assembly import autoconfigure, memory
from wsseg.assembly.model import load_model
from wsseg.assembly.parts import make_branches
from wsseg.cli import app
from wsseg.core.contracts import Batch, Network
from wsseg.core.errors import RecipeError
from wsseg.data.fingerprint import Preprocessing
from wsseg.networks._strides import derive_strides
from wsseg.recipe import plugins
from wsseg.recipe.reading import recipe_from

UNET = {"ct": {"use": "unet", "reads": ["ct"]}}
THREE = {
    "ct": {"use": "unet", "reads": ["ct"]},
    "mr": {"use": "unet", "reads": ["mr"]},
    "cross": {"use": "cross_modal_unet", "fuses": ["ct", "mr"]},
}
THIN, SMALL, HUGE = ((320, 320, 24), (0.5, 0.5, 4.0)), ((35, 50, 36), (1.0, 1.0, 1.0)), ((512, 512, 600), (0.8,) * 3)
DATASETS = [
    THIN, SMALL, HUGE, ((512, 512, 120), (0.8, 0.8, 3.0)), ((256, 216, 10), (1.5, 1.5, 10.0)),
    ((200, 300, 1), (1.0, 1.0, 1.0)), ((41, 6, 3), (1.0, 1.0, 1.0)), ((61, 9, 130), (3.0, 1.0, 0.4)),
]  # fmt: skip


def prepared(shape, spacing, modalities=("ct", "mr")):
    return SimpleNamespace(
        fingerprint=SimpleNamespace(shape=shape),
        preprocessing=Preprocessing(modalities=modalities, kinds=("other",) * len(modalities), spacing_mm=spacing,
                                    windows={}),
        dataset=SimpleNamespace(classes=("background", "left", "right")),
    )  # fmt: skip


def recipe(networks=None, gb=8.0, patch=None, **training):
    networks = networks or UNET
    return recipe_from({
        "name": "test",
        "data": {"root": "nowhere"} | ({"patch_size": patch} if patch else {}),
        "networks": networks,
        "supervision": {"partial_loss": {}},
        "training": {"iterations": 1, "precision": "fp32", "memory_gb": gb, **training},
        "prediction": {"network": next(iter(networks))},
    })  # fmt: skip


def planned(data, recorder, **words):
    found = autoconfigure.plan(recipe(**words), prepared(*data), recorder)
    return found.patch_size, found.networks["ct"].arguments.get("features"), found


def cost_gb(found, data):
    precision = found.training.precision
    return autoconfigure.cost_of(found, prepared(*data).preprocessing, 3, precision) / 1e9


@pytest.mark.parametrize(("shape", "spacing"), DATASETS)
@pytest.mark.parametrize("levels", [1, 4, 6])
def test_patches_divide_nest_and_stay_within_the_volume(shape, spacing, levels) -> None:
    patches = autoconfigure.patch_sizes(shape, spacing, levels)
    for smaller, larger in pairwise(patches):
        assert smaller != larger and all(a <= b for a, b in zip(smaller, larger, strict=True))
    for patch in patches:
        by = [math.prod(axis) for axis in zip(*derive_strides(patch, spacing, levels), strict=True)]
        assert all(n % b == 0 for n, b in zip(patch, by, strict=True))
        for n, m, b in zip(patch, shape, by, strict=True):
            assert (n == 1 if m == 1 else n >= 4) and (n >= 8 or m < 8)
            assert n < max(m, 4) + max(b, 2 ** (levels - 1))
    assert all(n <= 8 for n in patches[0])
    assert math.prod(patches[-1]) <= 256**3 * 1.2


def test_the_largest_patch_is_a_physical_cube_cut_to_the_volume() -> None:
    assert autoconfigure.start_size((2000, 2000, 2000), (1, 1, 1)) == (256, 256, 256)
    x, y, z = autoconfigure.start_size((2000, 2000, 2000), (0.5, 0.5, 4))
    assert x == y == 512 and z == 64
    assert autoconfigure.start_size(*SMALL) == (35, 50, 36)
    assert autoconfigure.patch_sizes(*SMALL, levels=4)[-1] == (40, 56, 40)


def test_real_datasets_get_sensible_plans(recorder) -> None:
    patch, features, _ = planned(SMALL, recorder)
    assert (patch, features) == ((40, 56, 40), 32), "the whole volume, as nnU-Net plans hippocampus"
    patch, features, _ = planned(THIN, recorder)
    assert features == 32 and patch[0] == patch[1] and 8 <= patch[2] <= 24 and 128 <= patch[0] < 320
    patch, features, _ = planned(HUGE, recorder)
    assert features == 32 and all(80 <= n <= 160 for n in patch)
    assert recorder.lines[0].startswith("planned: patch 40 x 56 x 40, features 32 (")
    assert recorder.lines[0].endswith(" of 8 GB of tensors per step)")


@pytest.mark.parametrize("network", plugins.names("networks"))
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_count_is_that_of_real_tensors_for_every_network(network: str, precision) -> None:
    reads = {"use": network, "reads": ["ct", "mr"]}
    pre = prepared(*SMALL).preprocessing
    takes = "features" in plugins.checked_arguments(plugins.find("networks", network, Network), {}, "")[0]
    try:
        whole = recipe({"ct": reads | ({"features": 4} if takes else {})}, patch=[24, 16, 16])
        branches = make_branches(whole, pre, 3)
    except RecipeError:
        streams = {n: {"use": "unet", "reads": [n], "features": 4, "deep_supervision": True} for n in ("ct", "mr")}
        whole = recipe({**streams, "it": {"use": network, "fuses": ["ct", "mr"]}}, patch=[24, 16, 16])
        branches = make_branches(whole, pre, 3)
    autoconfigure.cost_of(whole, pre, 3, precision)  # the first one loads parts of torch
    before, began = torch.get_rng_state(), time.process_time()
    counted = autoconfigure.cost_of(whole, pre, 3, precision)
    assert time.process_time() - began < 2
    assert torch.equal(before, torch.get_rng_state()), "planning draws nothing"
    batch = Batch.blank(2, 2, 3, (24, 16, 16))
    own = dict(branches.named_parameters())
    kept = memory.saved_bytes(branches, own, batch, precision)
    voxels = 2 * 24 * 16 * 16
    real = kept + sum(4 * 4 * p.numel() for p in own.values()) + voxels * (2 * 4 + 8)
    assert counted == pytest.approx(real, rel=1e-3)


def test_a_convolution_is_counted_by_hand() -> None:
    """One 3 -> 5 convolution of 8³ voxels keeps its input, which is the batch's, and its weight; logits are new."""

    class One(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv3d(3, 5, 3, padding=1)

        def forward(self, batch):
            return {"one": SimpleNamespace(logits=self.layer(batch.image * 1).relu(), deep_logits=())}

    voxels, weights = 2 * 512, 5 * 3 * 27 + 5
    copied = 3 * voxels * 4  # the multiplied image
    wanted = copied + 5 * voxels * 4 + weights * 4 * 4 + 3 * voxels * 4 + voxels * 8
    assert memory.step_bytes(One(), 2, 3, (8, 8, 8), "fp32") == wanted


def test_the_count_is_what_lives_after_a_real_forward_pass() -> None:
    """What lives after a real forward pass, seen at the dispatcher and not by autograd's hooks, was counted."""

    class Live(TorchDispatchMode):
        """Remembers, without holding it, every storage that an operation returned."""

        def __init__(self) -> None:
            super().__init__()
            self.sizes: dict[StorageWeakRef, int] = {}

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, tuple | list) else (out,):
                if isinstance(tensor, torch.Tensor):
                    storage = tensor.untyped_storage()
                    self.sizes[StorageWeakRef(storage)] = storage.nbytes()
            return out

    whole = recipe({"ct": {"use": "unet", "reads": ["ct"], "features": 8}}, patch=[32, 32, 32])
    branches = make_branches(whole, prepared(*SMALL).preprocessing, 3)
    batch = Batch.blank(2, 2, 3, (32, 32, 32))
    counted = memory.saved_bytes(branches, dict(branches.named_parameters()), batch, "fp32")
    gc.collect()
    with Live() as live:
        outputs = branches(batch)
    own = {StorageWeakRef(t.untyped_storage()) for t in (*branches.parameters(), batch.image)}
    real = sum(size for ref, size in live.sizes.items() if not ref.expired() and ref not in own)
    assert outputs
    assert real == pytest.approx(counted, rel=0.1)


@pytest.mark.parametrize(
    ("networks", "budgets"), [(UNET, (0.05, 0.2, 0.4, 0.8, 3, 20)), (THREE, (0.4, 3, 20))], ids=["one", "three"]
)
def test_more_memory_never_gives_less_and_no_budget_is_exceeded(recorder, networks, budgets) -> None:
    before = (0, 0, 0), 0
    for gb in budgets:
        patch, features, found = planned(THIN, recorder, networks=networks, gb=gb)
        assert cost_gb(found, THIN) <= gb
        assert features >= before[1] and all(a >= b for a, b in zip(patch, before[0], strict=True))
        if features > 8:
            assert min(patch[:2]) >= 32, "narrower networks come before small patches"
        before = patch, features
    assert before[1] == 32 and before[0][0] > 200


def test_a_named_part_is_kept_and_the_other_is_planned(recorder) -> None:
    widths = [planned(SMALL, recorder, patch=[40, 56, 40], gb=gb)[1] for gb in (0.1, 0.25, 0.5, 8)]
    assert widths == sorted(widths) and widths[0] < 24 and widths[-1] == 64
    assert recorder.lines[-1].startswith("planned: features 64 (")
    named = {"ct": UNET["ct"] | {"features": 6}}
    patch, features, _ = planned(SMALL, recorder, networks=named, gb=0.02)
    assert features == 6 and max(patch) < 56
    assert recorder.lines[-1].startswith("planned: patch ") and "features" not in recorder.lines[-1]


def test_a_plan_is_the_same_every_time_and_halves_in_bf16(recorder) -> None:
    one, two = (planned(HUGE, recorder, gb=2)[2] for _ in range(2))
    assert one == two and one.fingerprint() == two.fingerprint()
    assert planned(HUGE, recorder, gb=2, precision="bf16")[0] > one.patch_size


def test_where_all_is_named_nothing_is_built_or_said(recorder, monkeypatch) -> None:
    monkeypatch.setattr(autoconfigure, "make_branches", None)
    whole = recipe({"ct": UNET["ct"] | {"features": 4}}, patch=[16, 16, 16])
    assert autoconfigure.plan(whole, prepared(*SMALL), recorder) is whole
    assert not recorder.lines and autoconfigure.decided(whole, whole) == {}
    assert recipe({"ct": UNET["ct"] | {"features": 4}}, patch=[16, 16, 16], gb=1).fingerprint() == whole.fingerprint()


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ({"patch": [160, 160, 160], "gb": 0.5}, "patch of 160 x 160 x 160 with features 8 needs"),
        ({"networks": {"ct": UNET["ct"] | {"features": 256}}, "gb": 0.1}, "name fewer features"),
        ({"gb": 1e-4}, "patch of 8 x 8 x 8 with features 8 needs"),
    ],
)
def test_what_does_not_fit_is_said_with_numbers_and_remedy(recorder, words, remedy: str) -> None:
    with pytest.raises(RecipeError) as caught:
        planned(HUGE, recorder, **words)
    (fault,) = caught.value.faults
    assert fault.startswith("training.memory_gb: a step on a patch of ") and remedy in fault
    assert f"GB of the {words['gb']:g} allowed" in fault and "raise training.memory_gb" in fault


OPEN = """name: open
data: {{root: {root}, annotation: scribblesTr, folds: 3, fold: 0}}
networks:
  ct:    {{use: unet, reads: [ct], levels: 2}}
  mr:    {{use: unet, reads: [mr], levels: 2}}
  cross: {{use: cross_modal_unet, fuses: [ct, mr]}}
supervision: {{partial_loss: {{}}}}
training: {{iterations: 2, checkpoint_every: 1, validate_every: 0, memory_gb: 0.02, precision: fp32}}
prediction: {{network: cross}}
"""


def wsseg(*words, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, f"{result.output}\n{result.stderr}\n{result.exception!r}"
    return result


def test_a_recipe_that_names_neither_trains_resumes_and_predicts(make_dataset, make_recipe, tmp_path: Path) -> None:
    root, run = make_dataset(), tmp_path / "run"
    path = make_recipe(root, "open.yaml", OPEN)
    said = [line for line in wsseg("check", path).stdout.splitlines() if line.startswith("planned: patch ")]
    first = wsseg("train", path, "--run-dir", run).stdout
    assert len(said) == 1 and said[0] in first and said[0].endswith("of 0.02 GB of tensors per step)")
    plan = json.loads((run / "plan.json").read_text())
    patch, features = plan["planned"]["patch_size"], plan["planned"]["features"]
    assert features.keys() == {"ct", "mr"} and len(patch) == 3
    for kept in (json.loads((run / "resolved.json").read_text()), load_model(run).recipe.resolved()):
        assert kept["data"]["patch_size"] == patch and kept["networks"]["mr"]["features"] == features["mr"]
        assert "features" not in kept["networks"]["cross"]
    weights = (run / "weights.safetensors").read_bytes()
    for name in ("finished.json", "weights.json", "weights.safetensors"):
        (run / name).unlink()
    for file in (run / "checkpoints").glob("iteration_0000002*"):
        file.unlink()
    other = wsseg("train", path, "training.memory_gb=4", "training.lr=0.1", "--run-dir", run, "--resume", code=2).stderr
    assert "began with training.lr=0.01" in other and "memory_gb" not in other
    again = wsseg("train", path, "training.memory_gb=4", "--run-dir", run, "--resume").stdout
    assert "continuing from iteration 1" in again and "planned" not in again, "the plan it began with"
    assert (run / "weights.safetensors").read_bytes() == weights
    assert json.loads((run / "plan.json").read_text()) == plan
    wsseg("predict", run, root / "imagesTs", tmp_path / "out")
    assert (tmp_path / "out/case_100.nii.gz").is_file()


def test_faults_of_networks_and_budget_end_in_lines(make_dataset, make_recipe) -> None:
    path = make_recipe(make_dataset(), "open.yaml", OPEN)
    found = wsseg("check", path, "networks.ct.features=6", "data.unlabelled_share=0.5", code=2).stderr
    assert "give both the same features" in found and "every case is annotated" in found, "all in one round"
    assert "raise training.memory_gb" in wsseg("check", path, "training.memory_gb=1e-5", code=2).stderr
    assert "training.memory_gb" in wsseg("check", path, "training.memory_gb=0", code=2).stderr


@pytest.mark.slow
def test_the_phantom_is_planned_at_a_tiny_budget(tmp_path: Path) -> None:
    run = tmp_path / "run"
    path = Path(__file__).parents[2] / "recipes" / "npc_scribble.yaml"
    text = path.read_text()
    small = tmp_path / "small.yaml"
    small.write_text("\n".join(line for line in text.splitlines() if "patch_size" not in line))
    words = ["training.iterations=2", "training.validate_every=0", "training.memory_gb=0.1", "--run-dir", run]
    said = wsseg("train", small, "supervision.gated_crf.weight=0", *words).stdout
    assert "planned: patch " in said and np.prod(json.loads((run / "plan.json").read_text())["planned"]["patch_size"])
