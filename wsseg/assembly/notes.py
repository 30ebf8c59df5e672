"""The notes beside the weights of a run, checked: a run may come from another person."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from wsseg.checking.training_range import TrainingRange
from wsseg.core.axes import AxisOrder
from wsseg.core.cases import IGNORE
from wsseg.core.errors import DataError
from wsseg.core.names import may_name_a_file
from wsseg.data.fingerprint import Preprocessing
from wsseg.dataset.folder import Modality
from wsseg.recipe import plugins
from wsseg.recipe.outside import PluginRecord

REMEDY = "copy the run again, or train it again"


def _file_name(name: str) -> str:
    """Raise ValueError if a name cannot name a folder."""
    if not may_name_a_file(name):
        raise ValueError("the name would lead out of the folder that it names a file in")
    return name


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    """Raise ValueError if two names are equal: their files would overwrite each other."""
    if len(set(names)) < len(names):
        raise ValueError("two classes have the same name")
    return names


def _axis_order(record: dict[str, Any] | None) -> dict[str, Any] | None:
    """Raise ValueError if a record is no order of axes."""
    try:
        AxisOrder.from_record(record)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"is no order of axes ({error})") from error
    return record


FileName = Annotated[str, AfterValidator(_file_name)]


class ModelNotes(BaseModel):
    """What prediction needs beside the weights.

    Attributes:
        recipe: The resolved recipe.
        modalities: Name in the recipe, channel name, and number in file names.
        classes: Names of the classes by label value, background first; they name folders of probability maps.
        ending: File name ending of the label maps to write.
        preprocessing: Normalisation of the images.
        training_range: What the training cases were like; None in older runs.
        orientation: The working order of the axes, see `AxisOrder.record`; None in older runs.
        precision: Number format of the forward pass.
        plugins: Plug-ins from outside the package.
    """

    model_config = ConfigDict(frozen=True)
    recipe: dict[str, Any]
    modalities: tuple[tuple[str, str, Annotated[int, Field(ge=0, le=9999)]], ...]
    classes: Annotated[tuple[FileName, ...], AfterValidator(_distinct), Field(min_length=2, max_length=IGNORE)]
    ending: Literal[".nii.gz", ".nii"]
    preprocessing: Preprocessing
    training_range: TrainingRange | None = None
    orientation: Annotated[dict[str, Any] | None, AfterValidator(_axis_order)] = None
    precision: Literal["bf16", "fp32"]
    plugins: tuple[PluginRecord, ...] = ()

    def named_modalities(self) -> tuple[Modality, ...]:
        """Return the modalities in the order of their numbers in file names."""
        return tuple(Modality(*modality) for modality in self.modalities)


def check_notes(notes: Mapping[str, Any], path: Path) -> ModelNotes:
    """Return the notes of a run's weights. Raises DataError, one fault per damaged or unsafe entry of `path`."""
    try:
        return plugins.validate_strictly(ModelNotes, notes)
    except ValidationError as error:
        faults = plugins.sentences(error, list(ModelNotes.model_fields))
        raise DataError([f"{path}: {fault.lstrip('.')}; {REMEDY}" for fault in faults]) from error
