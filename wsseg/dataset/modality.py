"""A modality: the name of its channel decides how its intensities are normalised."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_CT_LIKE = re.compile(r"(?i)(\w{0,3}[b-df-hj-np-tv-z]|de)ct\d*|ctac|hu|hounsfield")
"""Words in the names of channels that may be in HU although they are not read as CT: NCCT, CBCT, LDCT, HRCT, DECT."""
_NUCLEAR = re.compile(r"(?i)pet|pt|nm|suv|fdg|psma|spect|petct|spectct")


@dataclass(frozen=True)
class Modality:
    """One modality: its name in the recipe, its name in dataset.json, and the number in its files' names."""

    name: str
    channel: str
    number: int

    @property
    def kind(self) -> Literal["ct", "other"]:
        """`ct` (channels like CT, CTA, CECT, planning_CT) is in HU; all others are normalised volume by volume."""
        is_ct = re.search(r"(?<![A-Za-z])(?i:(ce)?cta?)(?![A-Za-z])|(?<!SPE)(?<=[a-z])CT$", self.channel)
        return "ct" if is_ct else "other"

    @property
    def doubt(self) -> str:
        """What may be wrong about `kind`, judged by the name of the channel; empty if nothing is."""
        words = re.split(r"[\W_]+|(?<=[a-z])(?=[A-Z])", self.channel)
        nuclear = any(_NUCLEAR.fullmatch(word) for word in words)
        if self.kind == "ct" and nuclear:
            return (
                f"{self.channel!r} is read as CT in HU: if it is the PET or SPECT, leave CT out of its channel's name"
            )
        if self.kind == "other" and not nuclear and any(_CT_LIKE.fullmatch(word) for word in words):
            return f"{self.channel!r} is normalised volume by volume: if it is in HU, name its channel CT"
        return ""
