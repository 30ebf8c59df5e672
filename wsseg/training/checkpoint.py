"""Tensors on disk that survive a crash: safetensors + JSON, written whole or not at all, and checked when read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from wsseg.core.errors import DataError, collecting
from wsseg.core.files import write_safely
from wsseg.core.sealed import read_sealed, sealed_json


def write_tensors(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
    """Write tensors to PATH.safetensors and then notes, with the checksums of both files, to PATH.json."""
    content = save_tensors({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
    write_safely(path.with_suffix(".safetensors"), content)
    sealed = sealed_json({**notes, "sha256": hashlib.sha256(content).hexdigest()})
    write_safely(path.with_suffix(".json"), sealed)


def read_tensors(
    path: Path, remedy: str = "resume the run, or train it again"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Args:
        path: The path without ending.
        remedy: What to do if a file is damaged.

    Raises:
        DataError: A file is missing or damaged: one of the checksums differs.
    """
    notes = read_sealed(path.with_suffix(".json"), remedy)
    try:
        content = path.with_suffix(".safetensors").read_bytes()
    except OSError as error:
        raise DataError(f"{path}.safetensors: cannot be read ({error.strerror or error}); {remedy}") from error
    if hashlib.sha256(content).hexdigest() != notes.get("sha256"):
        raise DataError(f"{path}.safetensors: damaged (its checksum differs); {remedy}")
    try:
        return load_tensors(content), notes
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{path}.safetensors: damaged ({str(error)[:80]}); {remedy}") from error


@dataclass(frozen=True)
class Snapshot:
    """The state of a training: the number of finished iterations, and every tensor that the next one needs."""

    name: str
    iteration: int
    tensors: dict[str, Tensor]
    notes: dict[str, Any]


class Checkpoints:
    """The checkpoints of a run. The newest two are kept; a run resumes from the newest valid one."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder, self.keep = folder, keep

    def save(self, iteration: int, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> Path:
        """Write a checkpoint, and drop the oldest and those of later iterations, which the training left behind."""
        path = self.folder / f"iteration_{iteration:07d}"
        write_tensors(path, tensors, {**notes, "iteration": iteration})
        paths = self._paths()
        kept_paths = [kept for kept in paths if kept.name <= path.name][: self.keep]
        for other in paths:
            if other not in kept_paths:
                other.with_suffix(".json").unlink()
        kept = {kept.with_suffix(".safetensors") for kept in kept_paths}
        for orphan in set(self.folder.glob("iteration_*.safetensors")) - kept:  # also of a checkpoint cut short
            orphan.unlink(missing_ok=True)
        return path.with_suffix(".safetensors")

    def newest(self, faults: list[str]) -> Snapshot | None:
        """Return the newest valid checkpoint; the faults of newer ones are appended to `faults`.

        Returns:
            None if the run has no checkpoint yet.

        Raises:
            DataError: There are checkpoints, and every one is damaged.
        """
        for path in self._paths():
            with collecting(faults):
                return self.read(path.name)
        tensors = list(self.folder.glob("iteration_*.safetensors"))
        if len(tensors) > 1:
            faults += [f"{path}: its notes ({path.stem}.json) are missing" for path in tensors if not faults]
        if faults:
            raise DataError(
                [
                    *faults,
                    f"{self.folder}: no checkpoint is whole, so the run cannot be continued; restore one from a copy, "
                    "or delete this folder to begin again at iteration 0",
                ]
            )
        return None

    def read(self, name: str) -> Snapshot:
        """Return a checkpoint. Raises DataError where it is damaged."""
        path = self.folder / name
        tensors, notes = read_tensors(path, "delete it, or restore it from a copy")
        iteration = notes.get("iteration")
        if type(iteration) is not int or f"iteration_{iteration:07d}" != name:
            raise DataError(
                f"{path}.json: says iteration {iteration!r}, which is not that of its name: damaged or renamed; "
                "delete it, or restore it from a copy"
            )
        return Snapshot(name, iteration, tensors, notes)

    def names(self) -> list[str]:
        """Return the names of all checkpoints, newest first; none is read."""
        return [path.name for path in self._paths()]

    def _paths(self) -> list[Path]:
        return sorted((p.with_suffix("") for p in self.folder.glob("iteration_*.json")), reverse=True)


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: Sequence[str]) -> dict[str, Tensor]:
    """Return an optimiser's state as flat tensors, `PARAMETER|KEY`; `names` are those of its parameters, in order."""
    state = optimizer.state_dict()["state"]
    return {
        f"{names[index]}|{key}": torch.as_tensor(value)
        for index, values in state.items()
        for key, value in values.items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, names: Sequence[str], tensors: Mapping[str, Tensor]) -> None:
    """Restore what `optimizer_tensors` returned, whatever order the parameters have now."""
    index = {name: n for n, name in enumerate(names)}
    state: dict[int, dict[str, Tensor]] = {}
    for full, tensor in tensors.items():
        name, _, key = full.rpartition("|")
        state.setdefault(index[name], {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
