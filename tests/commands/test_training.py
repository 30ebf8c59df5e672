"""What surrounds the iterations of a training: threads, disk space, remedies."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from wsseg.commands import _training
from wsseg.core.errors import DeviceError, NoMemoryError, RecipeError


@pytest.fixture
def context(recorder, tmp_path: Path) -> Callable[..., SimpleNamespace]:
    """Return a maker of as much of a run as is looked at here."""

    def make(threads: int = 1, device: str = "cpu") -> SimpleNamespace:
        parts = SimpleNamespace(device=torch.device(device), precision="fp32")
        world, run = SimpleNamespace(threads=lambda: threads), SimpleNamespace(path=tmp_path)
        return SimpleNamespace(world=world, parts=parts, run=run, report=recorder, recipe=None, prepared=None)

    return make


def test_a_run_keeps_the_number_of_threads_that_it_began_with(context, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    _training.set_threads(context(threads=3), 2)
    _training.set_threads(context(threads=3), None)
    _training.set_threads(context(threads=1, device="cuda"), 2)
    assert chosen == [2, 3, 1]
    with pytest.raises(RecipeError, match="was trained with 2 threads, and this process may use 1"):
        _training.set_threads(context(threads=1), 2)


def test_a_disk_with_too_little_space_is_said(context, recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    callbacks = SimpleNamespace(checkpoints=SimpleNamespace(keep=2))
    trainer = SimpleNamespace(checkpoint_bytes=lambda: 10**9, weights_bytes=lambda: 10**8, callbacks=callbacks)
    for free in (10**12, None, 10**9):
        monkeypatch.setattr(_training, "free_bytes", lambda path, free=free: free)
        _training._say_disk_space(context(), trainer)
    assert [line.split(": ")[0] for line in recorder.lines] == ["disk", "disk", "disk", "warning"]
    assert "3.1 GB are needed and 1.0 GB are free" in recorder.lines[-1]


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (NoMemoryError("no memory"), NoMemoryError, "no memory; lower the patch"),
        (MemoryError("of 1 TiB"), NoMemoryError, "out of memory on this machine (of 1 TiB); lower the patch"),
        (RuntimeError("CUDA error: lost"), DeviceError, "the GPU has failed (CUDA error: lost)"),
        (RuntimeError("shapes differ"), RuntimeError, "shapes differ"),
    ],
)
def test_only_exhausted_memory_gets_a_setting_to_lower(
    context, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception], says: str
) -> None:
    def work() -> None:
        raise error

    monkeypatch.setattr(_training, "lower_memory", lambda *_: "lower the patch")
    with pytest.raises(kind) as caught:
        _training._with_remedy(context(), work)
    assert type(caught.value) is kind and str(caught.value) == says
