"""Another number of iterations for a run that is resumed: it goes on longer, or ends earlier."""

from __future__ import annotations

from pathlib import Path

from wsseg.training.checkpoint import Checkpoints

ITERATIONS = "training.iterations"
"""The setting that may change when a run is resumed."""


def length_faults(run: Path, finished: bool, iterations: int) -> list[str]:
    """Return why a run cannot go on to, or end at, a number of iterations."""
    names = Checkpoints(run / "checkpoints").names()
    if not names:
        gone = f"{run}: has finished and its checkpoints are missing, so it cannot go on; begin a new run"
        return [gone] if finished else []
    done = int(names[0].rpartition("_")[2])
    if iterations >= done:
        return []
    return [
        f"{run}: has done {done} iterations, so {ITERATIONS}={iterations} cannot end it; set it to {done} or more, or "
        "predict with an earlier checkpoint (--checkpoint)"
    ]
