"""A class that some fold has nothing to learn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wsseg.checking.dataset_facts import CaseFacts, DatasetFacts
from wsseg.checking.finding import Finding, error, some, warning


def judge(survey: DatasetFacts) -> Iterator[Finding]:
    """Count each class in the training part of every fold. Says nothing where a case could not be read."""
    if any(case.has_annotation and not case.known for case in survey.cases) or not survey.drawn:
        return
    whole = _missing(survey.cases, survey)
    for name in (name for name in whole if name != survey.classes[0]):  # background has a judge of its own
        yield error(
            survey.folder,
            f"class {name!r} has no stroke in any case",
            "draw it in some, or take it out of dataset.json's labels",
        )
    folds = range(len(survey.folds)) if survey.fold is not None else ()
    for fold in folds:
        for name in _missing(survey.training(fold), survey):
            if name in whole:
                continue
            held = [c.name for c, drawn in survey.drawn if drawn.counts[survey.classes.index(name)]]
            said = f"class {name!r} has no stroke in the training part of fold {fold}; all are in {some(held)}"
            if fold == survey.fold:
                yield error(survey.folder, said, "draw it in further cases, or change data.fold or data.folds")
            else:
                yield warning(survey.folder, said, "draw it in further cases, or leave that fold out")


def _missing(cases: Sequence[CaseFacts], survey: DatasetFacts) -> list[str]:
    """Return the classes that none of the cases has a stroke of."""
    drawn = [case.annotation.counts for case in cases if case.annotation is not None]
    return [name for c, name in enumerate(survey.classes) if not any(counts[c] for counts in drawn)]
