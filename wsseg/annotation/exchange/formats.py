"""Which reader and writer a file's ending asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from wsseg.annotation.exchange import metaimage, nrrd_files
from wsseg.annotation.exchange.source_segmentation import Drawing, Picture
from wsseg.core.errors import DataError
from wsseg.dataset.labelmaps import whole_numbers
from wsseg.volumes import nifti


def _read_nifti(path: Path) -> Drawing:
    volume = nifti.read(path)
    return Drawing(path, (whole_numbers(path, volume.array),), volume.grid)


def _write_nifti(path: Path, picture: Picture) -> None:
    nifti.write(path, picture.label, picture.grid)


READERS: Mapping[str, Callable[[Path], Drawing]] = {
    ".seg.nrrd": nrrd_files.read,
    ".seg.nhdr": nrrd_files.read,
    ".nrrd": nrrd_files.read,
    ".nhdr": nrrd_files.read,
    ".nii.gz": _read_nifti,
    ".nii": _read_nifti,
    ".mha": metaimage.read,
    ".mhd": metaimage.read,
}
"""By ending; where one ends another, the longer stands first."""

WRITERS: Mapping[str, Callable[[Path, Picture], None]] = {
    "seg.nrrd": nrrd_files.write_segmentation,
    "nii.gz": _write_nifti,
    "nrrd": nrrd_files.write,
    "mha": metaimage.write,
}


def ending(path: Path) -> str | None:
    """Return the ending by which a file is read, None where there is no reader for it."""
    return next((e for e in READERS if path.name.endswith(e)), None)


def read(path: Path) -> Drawing:
    """Read a file of annotation. Raises DataError where it cannot be read, or by its ending is none."""
    found = ending(path)
    if found is None:
        raise DataError(f"{path}: is not read; expected one of {', '.join(READERS)} (from a DICOM SEG: save .seg.nrrd)")
    return READERS[found](path)
