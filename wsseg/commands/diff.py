"""`wsseg diff`: where two runs part: the first iteration, and whether the batch or the networks differ there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsseg.commands._run_folder import RunFolder, flat
from wsseg.commands._runs import recipe_of, recorded_versions
from wsseg.core.errors import DataError, and_more
from wsseg.core.plain_json import parse_json
from wsseg.core.reporter import Reporter
from wsseg.tracking.lines import read_lines
from wsseg.tracking.record import RECORD
from wsseg.training.digests import DIGITS

LOGGED = "loss/total"


@dataclass
class Course:
    """What a run has recorded of its iterations.

    Attributes:
        data: Iteration -> digest of its batch.
        network: Iteration -> digest of its loss and gradients.
        losses: Iteration -> logged loss.
        unlike: Iteration that the run repeated (after it was stopped) with another result -> the side that differs.
    """

    data: dict[int, str] = field(default_factory=dict)
    network: dict[int, str] = field(default_factory=dict)
    losses: dict[int, float | str] = field(default_factory=dict)
    unlike: dict[int, str] = field(default_factory=dict)

    def forget(self, after: int) -> None:
        """Forget the digests of all iterations after `after`."""
        self.data = {n: digest for n, digest in self.data.items() if n <= after}
        self.network = {n: digest for n, digest in self.network.items() if n <= after}


def diff(first: Path, second: Path, report: Reporter) -> bool:
    """Compare two runs iteration by iteration, and report the first difference and its side.

    Args:
        first: A run, finished or not.
        second: Another run, of the same recipe.
        report: Where the result is shown.

    Returns:
        Whether the runs are equal as far as both have recorded.

    Raises:
        DataError: A folder holds no run.
    """
    courses = {run: _course(run) for run in (first, second)}
    _say_circumstances(first, second, report)
    equal = True
    for run, course in courses.items():
        for iteration, side in sorted(course.unlike.items())[:1]:
            report.say(f"{run}: repeated iteration {iteration} with another result ({side}) after it was resumed")
            equal = False
    one, two = courses.values()
    common = sorted(one.data.keys() & two.data.keys())
    if not common:
        return _compare_losses(one, two, report) and equal
    parted = next((n for n in common if one.data[n] != two.data[n] or one.network[n] != two.network[n]), None)
    if parted is None:
        report.say(f"equal: batches, losses and gradients of {len(common)} iterations ({common[0]} to {common[-1]})")
        return _compare_weights(first, second, report) and equal
    side = (
        "data: the batches differ"
        if one.data[parted] != two.data[parted]
        else "network: the batches are equal, but losses or gradients differ, and so do weights or computations"
    )
    before = f"; all {common.index(parted)} recorded iterations before are equal" if parted != common[0] else ""
    report.say(f"first difference in iteration {parted}, {side}{before}")
    return False


def _course(run: Path) -> Course:
    """Read the digests and losses in the record of a run."""
    if not (run / RECORD).is_file():
        raise DataError(f"{run}: holds no {RECORD}; name the folder of a run")
    course = Course()
    for _, line in read_lines(run / RECORD):
        if line.get("event") == "digests":
            for iteration, data, network in _digests(run, line):
                if course.data.get(iteration, data) != data:
                    course.unlike.setdefault(iteration, "data")
                elif course.network.get(iteration, network) != network:
                    course.unlike.setdefault(iteration, "network")
                course.data[iteration], course.network[iteration] = data, network
        elif line.get("event") in ("rolled_back", "iterations_changed"):
            # The iterations that follow are repeated with another learning rate.
            course.forget(int(line["to" if line["event"] == "rolled_back" else "at"]))
        elif LOGGED in line.get("metrics", {}):
            course.losses[int(line["step"])] = line["metrics"][LOGGED]
    return course


def _digests(run: Path, line: Mapping[str, Any]) -> Iterator[tuple[int, str, str]]:
    """Yield (iteration, digest of the batch, digest of loss and gradients) of a line."""
    first, data, network = line.get("first"), line.get("data"), line.get("network")
    if not (isinstance(first, int) and isinstance(data, str) and isinstance(network, str)):
        raise DataError(f"{run / RECORD}: a line of digests is damaged; copy the run again")
    for n in range(min(len(data), len(network)) // DIGITS):
        part = slice(n * DIGITS, (n + 1) * DIGITS)
        yield first + n, data[part], network[part]


def _say_circumstances(first: Path, second: Path, report: Reporter) -> None:
    """Report settings, versions and threads that differ: each of them may explain another result."""
    settings = [flat(recipe_of(run).decisive()) for run in (first, second)]
    keys = sorted({*settings[0], *settings[1]})
    differing = [
        f"{k}: {settings[0].get(k)} | {settings[1].get(k)}" for k in keys if settings[0].get(k) != settings[1].get(k)
    ]
    if differing:
        report.say(f"the recipes differ: {and_more(differing, 8)}")
    recorded = [recorded_versions([run]) for run in (first, second)]
    for name in sorted({*recorded[0], *recorded[1]}):
        values = [" then ".join(versions.get(name, ["not recorded"])) for versions in recorded]
        if values[0] != values[1] or " then " in values[0]:
            report.say(f"{name}: {values[0]} | {values[1]}")
    contents = [RunFolder(run).read("plan.json").get("content") for run in (first, second)]
    if contents[0] != contents[1]:
        report.say("the preprocessed cases differ (plan.json, content)")


def _compare_losses(one: Course, two: Course, report: Reporter) -> bool:
    """Compare the logged losses: runs made before digests were recorded have nothing else."""
    common = sorted(one.losses.keys() & two.losses.keys())
    if not common:
        report.say("no iteration was recorded by both runs")
        return False
    parted = next((n for n in common if one.losses[n] != two.losses[n]), None)
    if parted is None:
        report.say(f"equal: the logged losses of {len(common)} iterations; no digests were recorded by both runs")
        return True
    report.say(f"first difference in the loss logged at iteration {parted}; no digests were recorded by both runs")
    return False


def _compare_weights(first: Path, second: Path, report: Reporter) -> bool:
    """Compare the checksums of the final weights, if both runs have them."""
    sums = []
    for run in (first, second):
        if not (run / "weights.json").is_file():
            report.say(f"{run}: has no final weights yet")
            return True
        sums.append(parse_json((run / "weights.json").read_bytes()).get("sha256"))
    report.say("equal: the final weights, bit for bit" if sums[0] == sums[1] else "the final weights differ")
    return bool(sums[0] == sums[1])
