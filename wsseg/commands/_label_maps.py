"""The label maps that a command is given: a folder of them, or a run."""

from __future__ import annotations

from pathlib import Path

from wsseg.core.errors import DataError
from wsseg.core.reporter import Reporter


def is_run(folder: Path) -> bool:
    """Return whether a folder is a run rather than a folder of label maps."""
    return (folder / "resolved.json").is_file()


def label_map_folder(target: Path, checkpoint: str | None, report: Reporter) -> Path:
    """Return a folder of label maps as it is, and for a run that of its held-out cases; see `held_out_files`.

    Raises:
        DataError: A checkpoint is named for a folder that is no run, or the run has none.
    """
    if is_run(target):
        from wsseg.commands._held_out_files import held_out_files  # late: it loads torch and the networks

        return held_out_files(target, checkpoint, report)
    if checkpoint is not None:
        raise DataError(f"--checkpoint {checkpoint}: {target} is not a run; leave the option out, or name a run")
    return target
