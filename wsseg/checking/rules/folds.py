"""A class without annotation in the training part of a fold.

Error if no case, or no training case of the recipe's fold, has a stroke of the class: the network could not learn it.
Warning about the other folds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wsseg.checking.dataset_facts import CaseFacts, DatasetFacts
from wsseg.checking.finding import Finding, error, warning
from wsseg.core.errors import and_more


def find(dataset: DatasetFacts) -> Iterator[Finding]:
    """Look for each class in the training part of every fold. Finds nothing if a case is unreadable."""
    if dataset.unreadable or not dataset.annotated:
        return
    missing_everywhere = _missing(dataset.cases, dataset)
    for name in (name for name in missing_everywhere if name != dataset.classes[0]):  # rules/background.py
        yield error(
            dataset.folder,
            f"class {name!r} has no stroke in any case",
            "draw it in some, or remove it from dataset.json's labels",
        )
    folds = range(len(dataset.folds)) if dataset.fold is not None else ()
    for fold in folds:
        for name in _missing(dataset.training(fold), dataset):
            if name in missing_everywhere:
                continue
            cases = [case.name for case, facts in dataset.annotated if facts.counts[dataset.classes.index(name)]]
            what = f"class {name!r} has no stroke in the training part of fold {fold}; all are in {and_more(cases, 6)}"
            if fold == dataset.fold:
                yield error(dataset.folder, what, "draw it in further cases, or change data.fold or data.folds")
            else:
                yield warning(dataset.folder, what, "draw it in further cases, or leave that fold out")


def _missing(cases: Sequence[CaseFacts], dataset: DatasetFacts) -> list[str]:
    """Return the classes without an annotated voxel in any of the cases."""
    counts_of_cases = [case.annotation.counts for case in cases if case.annotation is not None]
    return [name for c, name in enumerate(dataset.classes) if not any(counts[c] for counts in counts_of_cases)]
