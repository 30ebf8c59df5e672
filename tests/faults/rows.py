"""The fault matrix: one row, one fault. `inject` causes it, `oracle` says what has to come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import data_faults, run_faults
from .tiny import Ended, Tiny


@dataclass(frozen=True)
class Row:
    """One fault.

    Attributes:
        number: Its number in the matrix.
        name: The fault.
        inject: Causes it in copies of the tiny dataset and run; returns how the commands ended.
        oracle: Raises AssertionError where the outcome is not what it has to be.
        budget_s: Seconds of one idle core that the row may take.
    """

    number: int
    name: str
    inject: Callable[[Tiny], Any]
    oracle: Callable[[Tiny, Any], None]
    budget_s: float = 3.0


def stops(*words: str, code: int = 2) -> Callable[[Tiny, Any], None]:
    """Every command stops with the exit code and one line per fault, without a traceback; the words stand in it."""

    def oracle(tiny: Tiny, outcome: Ended | list[Ended]) -> None:
        for ended in outcome if isinstance(outcome, list) else [outcome]:
            assert ended.code == code and not ended.traceback and ended.errors, ended
            assert all(word in "\n".join(ended.errors) for word in words), f"{words}: {ended.errors}"

    return oracle


def survives(*words: str) -> Callable[[Tiny, Any], None]:
    """Every command reaches its end; the words stand in its output."""

    def oracle(tiny: Tiny, outcome: Ended | list[Ended]) -> None:
        for ended in outcome if isinstance(outcome, list) else [outcome]:
            assert ended.code == 0 and not ended.traceback, ended
            assert all(word in ended.output for word in words), f"{words}: {ended.output}"

    return oracle


def both(first: Callable[[Tiny, Any], None], second: Callable[[Tiny, Any], None]) -> Callable[[Tiny, Any], None]:
    """The first outcome satisfies the first oracle, all others the second."""

    def oracle(tiny: Tiny, outcome: list[Ended]) -> None:
        first(tiny, outcome[0])
        second(tiny, outcome[1:])

    return oracle


def all_true(tiny: Tiny, outcome: dict[str, bool]) -> None:
    """Everything that was looked at holds."""
    assert outcome and all(outcome.values()), {what: held for what, held in outcome.items() if not held}


R, D = run_faults, data_faults
ROWS = (
    Row(1, "SIGKILL while a checkpoint is written", lambda t: R.kills(t, range(10, 40, 3)), all_true, 12),
    Row(2, "a flipped bit in a file of the run", lambda t: R.flips(t, 20), all_true, 15),
    Row(3, "disk full while a checkpoint is written", R.disk_full, R.disk_full_oracle, 4),
    Row(4, "out of GPU memory in a step", lambda t: R.failing_step(t, "cuda memory"), R.saved(4), 3),
    Row(5, "out of host memory in a step", lambda t: R.failing_step(t, "memory"), R.saved(4), 3),
    Row(6, "the loss becomes NaN", R.not_a_number, stops("partial_loss", "training.lr"), 4),
    Row(7, "truncated or damaged volumes", D.truncated, stops(".nii.gz", "again"), 4),
    Row(8, "headers that do not fit their file", D.header_lies, stops("case_1_0000.nii"), 6),
    Row(9, "a volume larger than the memory", D.huge, stops("case_1_0000.nii.gz"), 3),
    Row(10, "strokes on another grid than their image", D.moved, stops("case_1", "voxel"), 4),
    Row(11, "a sheared affine", D.sheared, D.sheared_oracle, 6),
    Row(12, "NaN and infinity in an image", D.not_finite, stops("case_1_0001.nii.gz"), 4),
    Row(13, "label maps in floating point", D.float_labels, both(survives(), stops("case_1.nii.gz")), 6),
    Row(14, "a label value that is no class", D.unknown_value, stops("case_2.nii.gz", "7"), 4),
    Row(15, "cases without a stroke", D.empty_strokes, both(survives(), stops("scribblesTr")), 5),
    Row(16, "a patch without an annotated voxel", D.empty_patch, all_true, 2),
    Row(17, "a class that was never drawn", D.class_never_drawn, stops("right", "draw it"), 3),
    Row(18, "volumes of one slice", lambda t: D.thin(t, [1]), survives(), 5),
    Row(19, "a case without a modality", D.missing_modality, both(survives("case_1"), stops("MR")), 5),
    Row(20, "one image under two names", D.duplicates, survives("case_0 = case_1"), 4),
    Row(21, "one patient on both sides of a split", D.leakage, all_true, 2),
    Row(22, "odd file names", D.odd_names, survives(), 8),
    Row(23, "folders that cannot be written", R.unwritable, stops("/proc/wsseg"), 4),
    Row(24, "an MLflow server that is dead or hangs", R.hanging_server, R.whole_record, 12),
    Row(25, "two runs in one folder", R.two_runs, both(survives(), stops("new", "process", "since")), 6),
    Row(26, "SIGTERM, SIGUSR1, SIGHUP, Ctrl-C", R.signals, R.signals_oracle, 8),
    Row(27, "a CUDA error in a step", lambda t: R.failing_step(t, "cuda"), R.saved(5), 3),
    Row(28, "resume is bit-exact", lambda t: R.resumed(t, [3]), all_true, 5),
    Row(29, "another recipe on resume", R.other_recipe, stops("training.lr", "0.01", "0.5"), 2),
    Row(30, "other versions of libraries", R.versions_recorded, all_true, 1),
    Row(31, "a cache that was left half-written", R.half_a_cache, all_true, 6),
    Row(32, "YAML that means something else", R.yaml_traps, stops("tiny.yaml:"), 4),
    Row(33, "no HOME, no user, no locale", R.environments, survives(), 8),
    Row(34, "one of two processes dies", R.dead_rank, R.dead_rank_oracle, 40),
)  # fmt: skip
