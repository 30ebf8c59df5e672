"""Files with different axis orientations on disk.

Warning if the files of one case differ, hint if cases differ. wsseg reads them correctly if the headers are correct,
but a file that was exported with another orientation often has a wrong header. With `data.orientation: file` cases keep
their axes, so it is a warning if cases differ. Letters that differ only because volumes lie oblique do not count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from wsseg.checking.dataset_facts import DatasetFacts
from wsseg.checking.finding import Finding, hint, warning
from wsseg.core.errors import and_more


def find(dataset: DatasetFacts) -> Iterator[Finding]:
    """Compare the orientations of the files of each case, then those of the cases."""
    cases_by_orientation: Counter[str] = Counter()
    names: dict[str, list[str]] = {}
    for case in dataset.cases:
        orientations = sorted(set(case.orientations.values()))
        if len(orientations) > 1:
            first = next(iter(case.orientations.values()))
            odd = next(path for path, orientation in case.orientations.items() if orientation != first)
            yield warning(
                odd,
                f"lies {case.orientations[odd]} on disk, {next(iter(case.orientations)).name} lies {first}",
                "look at one over the other: this is read rightly only if both headers are right",
            )
        elif orientations:
            cases_by_orientation[orientations[0]] += 1
            names.setdefault(orientations[0], []).append(case.name)
    if len(cases_by_orientation) > 1:
        usual, count = cases_by_orientation.most_common(1)[0]
        odd_ones = [f"{and_more(names[o], 6)} ({o})" for o in cases_by_orientation if o != usual]
        what = f"{count} cases lie {usual} on disk, others do not: {'; '.join(odd_ones)}"
        if dataset.orientation == "file":
            remedy = "data.orientation=file keeps them so, e.g. with left and right swapped; write auto"
            yield warning(dataset.root / "imagesTr", what, remedy)
        else:
            remedy = "all are turned alike on reading; look at one of each, in case a header is wrong"
            yield hint(dataset.root / "imagesTr", what, remedy)
