"""One case in memory -> the facts of it; its volumes are let go afterwards."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from wsseg.checking.alignment import Look, alignment
from wsseg.checking.dataset_facts import Alignment, CaseFacts, Opened
from wsseg.checking.intensities import image_facts
from wsseg.checking.stroke_shapes import conflict, drawing_axis, label_facts

_FUNCTIONAL = r"(?i)(?<![a-z])(pet|pt|nm|suv|fdg|psma|spect|(rt)?dose)(?![a-z])"
"""Channels that show no anatomy; PT and NM are DICOM's words for PET and for nuclear medicine."""


@dataclass(frozen=True)
class Setting:
    """What is the same for all cases.

    Attributes:
        classes: C, background included.
        kinds: Modality -> `ct` or `other`.
        channels: Modality -> its name in dataset.json.
        annotation: The folder to learn from.
    """

    classes: int
    kinds: Mapping[str, str]
    channels: Mapping[str, str]
    annotation: str


def measure(opened: Opened, setting: Setting, faults: tuple[str, ...] = (), doubts: tuple[str, ...] = ()) -> CaseFacts:
    """Measure a case whose images could be read; `faults` and `doubts` are what was wrong with other files of it."""
    case, spacing = opened.case, opened.grid.spacing_mm
    images = {name: (setting.kinds[name], array) for name, array in opened.images.items() if array is not None}
    annotation, others, conflicts = None, [], []
    if case.annotation is not None and opened.label is not None:
        axis = drawing_axis(opened.label, spacing)
        annotation = label_facts(setting.annotation, case.annotation, opened.label, setting.classes, axis, images)
        for folder, (file, label) in opened.others.items():
            others.append(label_facts(folder, file, label, setting.classes, axis, images))
            conflicts.append(conflict(folder, opened.label, label, setting.classes, case.unannotated_classes))
    return CaseFacts(
        name=case.name,
        patient=case.patient,
        has_annotation=case.annotation is not None,
        lacking=tuple(name for name, path in case.images.items() if path is None),
        faults=faults,
        doubts=doubts,
        shape=opened.grid.shape,
        spacing_mm=spacing,
        orientations=opened.orientations,
        images=tuple(
            image_facts(name, path, kind, array)
            for name, (kind, array) in images.items()
            if (path := case.images[name]) is not None
        ),
        annotation=annotation,
        others=tuple(others),
        conflicts=tuple(conflicts),
        alignments=_alignments(opened, setting),
    )


def _alignments(opened: Opened, setting: Setting) -> tuple[Alignment, ...]:
    """Align every modality of a case that shows anatomy to the first one.

    PET, SPECT and doses are left out: mutual information is no guide to where uptake or a dose belongs. In 26
    sarcomas whose uptake shows the tumour its best shift of PET against CT was over 8 mm off the tumour's in 13.
    """
    anatomical = [
        Look(name, setting.kinds[name], array)
        for name, array in opened.images.items()
        if array is not None and not re.search(_FUNCTIONAL, setting.channels[name])
    ]
    found = (alignment(anatomical[0], other, opened.grid.spacing_mm) for other in anatomical[1:])
    return tuple(one for one in found if one is not None)
