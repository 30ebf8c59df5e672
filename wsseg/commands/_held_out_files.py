"""The label maps of a run's held-out cases, as files: also of a run that has not finished."""

from __future__ import annotations

from pathlib import Path

from wsseg.assembly.data import find_root
from wsseg.assembly.trained_weights import trained_weights
from wsseg.commands._run_folder import RunFolder
from wsseg.commands._runs import recipe_of
from wsseg.commands.predict import predict
from wsseg.core.errors import DataError
from wsseg.core.reporter import Reporter, Silent


def held_out_files(run: Path, checkpoint: str | None, report: Reporter) -> Path:
    """Return the folder with the label maps of a run's held-out cases.

    A finished run has them in `predictions/`. For a run that has not finished, or for a checkpoint, they are predicted
    now and written to `checkpoints/predictions_CHECKPOINT/` in the run.

    Args:
        run: Directory of the run.
        checkpoint: See `trained_weights`; None for `predictions/` if the run has finished.
        report: Where progress is shown.

    Raises:
        DataError: The run has no weights and no checkpoint, or holds out no case.
    """
    folder = RunFolder(run)
    if checkpoint is None and folder.finished:
        return run / "predictions"
    held_out = folder.read("plan.json")["held_out"]
    if not held_out:
        raise DataError(f"{run}: holds out no case (data.fold is empty); predict a folder of images instead")
    name = trained_weights(run, checkpoint, Silent().say).checkpoint or "final"
    out = run / "checkpoints" / f"predictions_{name}"
    images = find_root(recipe_of(run).data.root, report) / "imagesTr"
    predict(run, images, out, False, None, report, checkpoint=checkpoint, only=set(held_out))
    return out
