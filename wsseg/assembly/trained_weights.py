"""The weights of a run: those it ended with, or those of a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from wsseg.assembly.notes import ModelNotes, check_notes
from wsseg.core.errors import DataError, and_more
from wsseg.core.plain_json import parse_json
from wsseg.core.sealed import read_sealed
from wsseg.training.checkpoint import Checkpoints, Snapshot, read_tensors

NOTES = "model.json"
"""Written when a run begins: what its weights need to predict."""
NEWEST = "newest"


class TrainedWeights(NamedTuple):
    """Weights, the notes that they need, and the checkpoint they are from ("" for the final ones)."""

    tensors: dict[str, Tensor]
    notes: ModelNotes
    checkpoint: str


def trained_weights(run: Path, checkpoint: str | None, say: Callable[[str], None]) -> TrainedWeights:
    """Return the final weights of a run, or those of a checkpoint.

    Args:
        run: Directory of the run.
        checkpoint: `newest`, the name of a checkpoint (iteration_0000300) or its iteration (300). None takes the final
            weights if the run has them, else the newest checkpoint.
        say: Told which checkpoint is used.

    Raises:
        DataError: There are no such weights, or they are damaged.
    """
    checkpoints = Checkpoints(run / "checkpoints")
    if checkpoint is None and not newer_checkpoint(run):
        if (run / "weights.json").is_file():
            tensors, notes = read_tensors(run / "weights")
            return TrainedWeights(tensors, check_notes(notes, run / "weights.json"), "")
        raise DataError(f"{run}: holds neither weights nor a checkpoint; name a run, or begin to train it")
    snapshot = _snapshot(run, checkpoints, checkpoint or NEWEST, say)
    stored = weights_notes(run)
    iterations = stored.recipe.get("training", {}).get("iterations", "an unknown number")
    unfinished = "has not finished; its newest" if checkpoint is None else "its"
    say(f"{run}: {unfinished} checkpoint is used, of iteration {snapshot.iteration} of {iterations}")
    # `training.ema`: the average is what the run would end with.
    prefix = "average/module." if any(n.startswith("average/module.") for n in snapshot.tensors) else "networks/"
    tensors = {n.removeprefix(prefix): t for n, t in snapshot.tensors.items() if n.startswith(prefix)}
    return TrainedWeights(tensors, stored, snapshot.name)


def newer_checkpoint(run: Path) -> bool:
    """Return whether a run has a checkpoint, and no final weights of the same or a later iteration."""
    names = Checkpoints(run / "checkpoints").names()
    if not names or (run / "finished.json").is_file():
        return False
    try:
        notes = parse_json((run / "weights.json").read_bytes())
        return int(names[0].rpartition("_")[2]) > int(notes["recipe"]["training"]["iterations"])
    except (OSError, ValueError, KeyError, TypeError):
        return True


def _snapshot(run: Path, checkpoints: Checkpoints, wanted: str, say: Callable[[str], None]) -> Snapshot:
    """Return a checkpoint by its name or number, or the newest one that is whole."""
    names = checkpoints.names()
    if wanted != NEWEST:
        name = f"iteration_{int(wanted):07d}" if re.fullmatch(r"[0-9]{1,12}", wanted) else wanted
        if name not in names:
            existing = and_more(names) or "none"
            raise DataError(f"--checkpoint {wanted}: {run / 'checkpoints'} holds: {existing}; name one, or `{NEWEST}`")
        return checkpoints.read(name)
    faults: list[str] = []
    snapshot = checkpoints.newest(faults)
    for fault in faults:
        say(f"skipped a checkpoint: {fault}")
    if snapshot is None:
        raise DataError([*faults, f"{run / 'checkpoints'}: holds no whole checkpoint; continue the run with --resume"])
    return snapshot


def weights_notes(run: Path) -> ModelNotes:
    """Return the notes that a run has written at its start, or with its final weights."""
    for name in (NOTES, "weights.json"):
        if (run / name).is_file():
            notes = read_sealed(run / name, "continue the run with --resume, which writes it")
            return check_notes(notes, run / name)
    raise DataError(
        f"{run}: holds no {NOTES}, as it was begun by an earlier version; continue it (wsseg train ... --resume), "
        "which writes that file, then repeat this command"
    )
