"""Files that lie otherwise on disk than others: read rightly if their headers are right, and they often are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from wsseg.checking.dataset_facts import DatasetFacts
from wsseg.checking.finding import Finding, hint, some, warning


def judge(survey: DatasetFacts) -> Iterator[Finding]:
    """Look for mixed orientations within a case, and over the cases."""
    images: Counter[str] = Counter()
    names: dict[str, list[str]] = {}
    for case in survey.cases:
        found = sorted(set(case.orientations.values()))
        if len(found) > 1:
            first = next(iter(case.orientations.values()))
            odd = next(path for path, orientation in case.orientations.items() if orientation != first)
            yield warning(
                odd,
                f"lies {case.orientations[odd]} on disk, {next(iter(case.orientations)).name} lies {first}",
                "look at one over the other: this is read rightly only if both headers are right",
            )
        elif found:
            images[found[0]] += 1
            names.setdefault(found[0], []).append(case.name)
    if len(images) > 1:
        usual, count = images.most_common(1)[0]
        odd_ones = [f"{some(names[o])} ({o})" for o in images if o != usual]
        yield hint(
            survey.root / "imagesTr",
            f"{count} cases lie {usual} on disk, others do not: {'; '.join(odd_ones)}",
            "all are turned alike on reading; look at one of each, in case a header is wrong",
        )
