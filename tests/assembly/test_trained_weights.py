"""Which weights of a run are used."""

import json
from pathlib import Path

import pytest
import torch

from wsseg.assembly.trained_weights import newer_checkpoint, trained_weights
from wsseg.core.errors import DataError
from wsseg.training.checkpoint import Checkpoints


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with a checkpoint of iteration 4."""
    Checkpoints(tmp_path / "checkpoints").save(4, {"a": torch.zeros(2)}, {})
    return tmp_path


@pytest.mark.parametrize("wanted", ["5", "iteration_4", "../checkpoints/iteration_0000004", "-4"])
def test_a_checkpoint_that_is_not_there_is_refused_with_those_that_are(run: Path, wanted: str, recorder) -> None:
    with pytest.raises(DataError, match=f"--checkpoint {wanted}: .* holds: iteration_0000004; name one, or `newest`"):
        trained_weights(run, wanted, recorder.say)


def test_a_run_without_weights_and_checkpoints_is_refused(tmp_path: Path, recorder) -> None:
    with pytest.raises(DataError, match="holds neither weights nor a checkpoint"):
        trained_weights(tmp_path, None, recorder.say)


@pytest.mark.parametrize(("iterations", "newer"), [(3, True), (4, False), (6, False), ("x", True), (None, True)])
def test_a_checkpoint_counts_if_it_is_newer_than_the_final_weights(run: Path, iterations: object, newer: bool) -> None:
    if iterations is not None:
        (run / "weights.json").write_text(json.dumps({"recipe": {"training": {"iterations": iterations}}}))
    assert newer_checkpoint(run) is newer
    (run / "finished.json").touch()
    assert not newer_checkpoint(run)
