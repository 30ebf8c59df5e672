"""What ends or disturbs a training: signals, a full disk, exhausted memory, a lost GPU, numbers that break."""

import errno
import os
import signal

import pytest
import torch
from torch import Tensor

from wsseg.core.contracts import Term
from wsseg.core.errors import DeviceError, NoMemoryError
from wsseg.core.stop_signals import StoppedError
from wsseg.training import iterations
from wsseg.training.hybrid import HybridSupervision, TermSpec
from wsseg.training.iterations import DivergedError

SMALL = (
    "networks={cross: {use: unet, reads: [ct, mr], features: 4, levels: 2}}",
    "supervision={partial_loss: {weight: 1.0}, prototype_contrast: {weight: 0.1}}",
)
"""One network, and a term that remembers."""
RARELY = (*SMALL, "training.checkpoint_every=100", "training.validate_every=0")


def weights(trainer) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.tensors().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGINT])
def test_a_signal_ends_a_training_after_the_iteration_with_a_checkpoint(engine, number) -> None:
    done = []
    made = engine(*RARELY, stop_signal=lambda: number if len(done) == 3 else 0)
    step = made.trainer.step
    made.trainer.step = lambda iteration: (done.append(iteration), step(iteration))[1]
    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else StoppedError) as ended:
        made.trainer.fit(made.recorder)
    assert number == signal.SIGINT or ended.value.code == 128 + number
    kept = made.trainer.callbacks.checkpoints.newest([])
    assert kept.iteration == 3 and same(kept.tensors, weights(made.trainer))
    assert "stopped after iteration 3 of 6" in made.said[-1]


def test_a_full_disk_does_not_end_a_training_and_the_next_checkpoint_is_tried(engine, monkeypatch) -> None:
    made = engine(*SMALL, "training.validate_every=0")
    checkpoints, calls = made.trainer.callbacks.checkpoints, []
    save = checkpoints.save

    def full(iteration, *rest):
        calls.append(iteration)
        if iteration < 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return save(iteration, *rest)

    monkeypatch.setattr(checkpoints, "save", full)
    made.trainer.fit(made.recorder)
    assert calls == [2, 4, 6] and made.trainer.saver.fault == ""
    first = made.said[0]
    assert str(checkpoints.folder) in first and "kB" in first and "No space left" in first
    assert "next attempt follows at iteration 4" in first
    monkeypatch.setattr(checkpoints, "save", lambda *rest: full(0))
    assert not made.trainer.saver.save(6, made.trainer.tensors(), {}, "free some space")
    assert "iteration 6" in made.trainer.saver.fault


@pytest.mark.parametrize(
    ("error", "kind", "within"),
    [
        (MemoryError("Unable to allocate 1.2 TiB"), NoMemoryError, "batch"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), NoMemoryError, "forward"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), DeviceError, "forward"),
    ],
)
def test_a_failure_of_the_machine_leaves_the_last_good_state(engine, error, kind, within: str) -> None:
    made, calm = engine(*RARELY), engine(*RARELY, folder="calm")
    for iteration in range(3):
        calm.trainer.step(iteration)
    batch_at, supervision = made.trainer.batch_at, made.trainer.supervision

    def fail(*_: object) -> None:
        raise error

    def batch(iteration: int):
        if iteration == 3:
            if within == "batch":
                raise error
            # After the other terms have run: they may have changed what they remember.
            supervision.register_forward_hook(fail)
        return batch_at(iteration)

    made.trainer.batch_at = batch
    with pytest.raises(kind, match=r"iteration 3") as failure:
        made.trainer.fit(made.recorder)
    assert failure.value.exit_code == (4 if kind is NoMemoryError else 5)
    kept = made.trainer.callbacks.checkpoints.newest([])
    assert kept.iteration == 3 and same(kept.tensors, weights(calm.trainer))


def test_an_error_of_the_program_is_no_failure_of_the_machine(engine) -> None:
    made = engine(*RARELY)

    def fail(iteration: int) -> None:
        raise RuntimeError("shapes do not match")

    made.trainer.batch_at = fail
    with pytest.raises(RuntimeError, match="shapes"):
        made.trainer.fit(made.recorder)


def test_memory_that_runs_out_within_an_update_saves_nothing(engine) -> None:
    made = engine(*RARELY)

    def fail() -> None:
        raise MemoryError

    for iteration in range(2):
        made.trainer.step(iteration)
    made.trainer.optimizer.step = fail
    with pytest.raises(NoMemoryError, match="there is no checkpoint yet"):
        made.trainer.fit(made.recorder, 2)
    assert made.trainer.callbacks.checkpoints.newest([]) is None


def test_the_trial_of_the_largest_step_changes_nothing(engine) -> None:
    tried, plain = engine(*RARELY, folder="tried"), engine(*RARELY, folder="plain")
    before, random = weights(tried.trainer), torch.get_rng_state()
    tried.trainer.try_largest_step()
    assert same(before, weights(tried.trainer)) and torch.equal(random, torch.get_rng_state())
    tried.trainer.fit(tried.recorder)
    plain.trainer.fit(plain.recorder)
    assert same(weights(tried.trainer), weights(plain.trainer))


class Breaking(Term):
    """A term that is NaN from iteration 4 on, while `broken`."""

    broken = True

    def __init__(self, setting) -> None:
        super().__init__(setting)

    def forward(self, step) -> Tensor:
        bad = Breaking.broken and step.iteration >= 4
        return step.outputs["cross"].logits.square().mean() * (float("nan") if bad else 1.0)


@pytest.mark.parametrize("heals", [True, False])
def test_a_loss_that_stays_nan_rolls_back_once_with_half_the_rate(engine, monkeypatch, heals: bool) -> None:
    monkeypatch.setattr(iterations, "GIVE_UP_AFTER", 4)
    made = engine(*SMALL, "training.iterations=12", "training.checkpoint_every=3", "training.validate_every=0")
    trainer = made.trainer
    plan = TermSpec("breaking", Breaking, lambda progress: 1.0, ("cross",), {})
    networks = dict(trainer.branches.networks.items())
    trainer.module.supervision = trainer.supervision = HybridSupervision([plan], networks, 3, (2.0, 2.0, 3.0), 0)
    Breaking.broken, restore = True, trainer.restore

    def healed(snapshot) -> int:
        Breaking.broken = not heals
        return restore(snapshot)

    trainer.restore = healed
    if heals:
        trainer.fit(made.recorder)
        assert trainer.skipped == 4
        rate = trainer.optimizer.param_groups[0]["lr"]
        assert rate == pytest.approx(0.5 * 0.01 * (1 / 12) ** 0.9)
        assert trainer.callbacks.checkpoints.newest([]).notes["rate_factor"] == 0.5
    else:
        with pytest.raises(DivergedError, match=r"terms: breaking; cases: case_.*lower training\.lr.*roll-back before"):
            trainer.fit(made.recorder)
    said = next(line for line in made.said if "rolled back" in line)
    assert "rolled back to iteration 3" in said and "terms: breaking" in said
    assert ("rolled_back", {"from": 8, "to": 3, "rate_factor": 0.5}) in made.events


def test_digests_name_every_iteration_and_tell_a_batch_from_a_network(engine) -> None:
    def course(change: str) -> dict[str, str]:
        made = engine(*RARELY, folder=change)
        batch_at = made.trainer.batch_at

        def batch(iteration: int):
            given = batch_at(iteration)
            if change == "data" and iteration == 2:
                given.image.view(-1)[5] += 1e-3
            if change == "network" and iteration == 2:
                next(made.trainer.branches.parameters()).data.view(-1)[0] += 1e-3
            return given

        made.trainer.batch_at = batch
        made.trainer.fit(made.recorder)
        (line,) = [values for name, values in made.events if name == "digests"]
        assert line["first"] == 1 and len(line["data"]) == len(line["network"]) == 6 * 8
        return line

    plain, again, data, network = (course(change) for change in ("", "again", "data", "network"))
    assert plain == again
    assert data["data"][:16] == plain["data"][:16] and data["data"][16:24] != plain["data"][16:24]
    assert network["data"] == plain["data"]
    assert network["network"][:16] == plain["network"][:16] and network["network"][16:24] != plain["network"][16:24]
