"""Readers and writers of annotation files by file name ending."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from wsseg.annotation.exchange import metaimage, nrrd_files
from wsseg.annotation.exchange.source_segmentation import LabelImage, SourceSegmentation
from wsseg.core.errors import DataError
from wsseg.dataset.labelmaps import whole_numbers
from wsseg.volumes import nifti


def _read_nifti(path: Path) -> SourceSegmentation:
    volume = nifti.read(path)
    return SourceSegmentation(path, (whole_numbers(path, volume.array),), volume.grid)


def _write_nifti(path: Path, image: LabelImage) -> None:
    nifti.write(path, image.label, image.grid)


READERS: Mapping[str, Callable[[Path], SourceSegmentation]] = {
    ".seg.nrrd": nrrd_files.read,
    ".seg.nhdr": nrrd_files.read,
    ".nrrd": nrrd_files.read,
    ".nhdr": nrrd_files.read,
    ".nii.gz": _read_nifti,
    ".nii": _read_nifti,
    ".mha": metaimage.read,
    ".mhd": metaimage.read,
}
"""Readers by ending; longer endings come before those that they end with."""

WRITERS: Mapping[str, Callable[[Path, LabelImage], None]] = {
    "seg.nrrd": nrrd_files.write_segmentation,
    "nii.gz": _write_nifti,
    "nrrd": nrrd_files.write,
    "mha": metaimage.write,
}


def ending(path: Path) -> str | None:
    """Return the ending of a file that there is a reader for, else None."""
    return next((e for e in READERS if path.name.endswith(e)), None)


def read(path: Path) -> SourceSegmentation:
    """Read an annotation file. Raises DataError if there is no reader for its ending or it cannot be read."""
    file_ending = ending(path)
    if file_ending is None:
        expected = f"{', '.join(READERS)} (from a DICOM SEG: save .seg.nrrd)"
        raise DataError(f"{path}: unknown file type, expected one of {expected}")
    return READERS[file_ending](path)
