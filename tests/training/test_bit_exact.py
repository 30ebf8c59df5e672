"""A training that was stopped after any iteration and resumed ends in the same weights, bit for bit."""

from pathlib import Path

import pytest
import torch

from wsseg.training.checkpoint import Checkpoints

ITERATIONS = 8
WORDS = (
    "networks={ct: {use: unet, reads: [ct], features: 4, levels: 2}, "
    "mr: {use: unet, reads: [mr], features: 4, levels: 2}, cross: {use: cross_modal_unet, fuses: [ct, mr]}}",
    "supervision={partial_loss: {weight: 1.0}, prototype_contrast: {weight: {to: 0.1, from: 0.2, over: 0.5}}}",
    f"training.iterations={ITERATIONS}", "training.checkpoint_every=1", "training.validate_every=0",
    "training.ema=0.9", "training.optimizer=adamw",
)  # fmt: skip


@pytest.mark.slow
def test_every_resumed_training_ends_in_the_same_weights(engine, tmp_path: Path) -> None:
    whole = engine(*WORDS)
    torch.set_num_threads(2)
    checkpoints = whole.trainer.callbacks.checkpoints
    checkpoints.keep = ITERATIONS
    whole.trainer.fit(whole.recorder)
    expected = whole.trainer.branches.state_dict()
    digests = {}
    for name, line in whole.events:
        if name == "digests":
            digests[line["first"]] = (line["data"], line["network"])
    assert list(digests) == list(range(1, ITERATIONS + 1))
    for done in range(1, ITERATIONS):
        resumed = engine(*WORDS, folder=f"resumed_{done}")
        torch.set_num_threads(2)
        start = resumed.trainer.restore(Checkpoints(tmp_path / "run").read(f"iteration_{done:07d}"))
        resumed.trainer.fit(resumed.recorder, start)
        ended = resumed.trainer.branches.state_dict()
        assert all(torch.equal(tensor, ended[name]) for name, tensor in expected.items()), done
        again = {line["first"]: (line["data"], line["network"]) for name, line in resumed.events if name == "digests"}
        assert again == {n: digest for n, digest in digests.items() if n > done}
