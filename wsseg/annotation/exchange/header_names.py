"""Names of labels in the headers of other tools' files: 3D Slicer, MITK, and key/value pairs of NRRD and MetaImage."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsseg.annotation.exchange.names_files import named_in_json
from wsseg.annotation.exchange.source_segmentation import Colour, Segment
from wsseg.core.errors import DataError, and_more
from wsseg.core.plain_json import parse_json

MITK_GROUPS = "org.mitk.multilabel.segmentation.labelgroups"
_MITK_LEGACY = "org.mitk.image.multilabel"
_FOREIGN = re.compile(
    r"(?i)nrrd[._ ].*|itk[._ ].*|org[._]mitk[._].*|MITK\..*|dicom.*|dwmri.*|Segmentation_.*|Segment\d+_.*"
    r"|layers|layer_\d+|label_\d+_\d+|modality|content|units?|space.*|kinds|labels|thicknesses|centerings?|sizes|type"
    r"|dimension|encoding|endian|measurement frame|sample units|data ?file|old ?min|old ?max"
    r"|ObjectType|NDims|\w*ByteOrderMSB|BinaryData|Compressed\w*|TransformMatrix|Offset|Position|Origin|Orientation"
    r"|CenterOfRotation|AnatomicalOrientation|DimSize|Element\w*|HeaderSize|Comment|Name|ID|ParentID|Rotation|Color"
    r"|.*date.*|.*version.*|.*author.*"
)
"""Header fields of the formats themselves, and of tools that do not name labels in them."""
_NAMES_KEY = re.compile(r"(?i)(?:label|class|segment|structure|roi|value)[ _.-]*(?:names?|map|values?|s|es|table)?")
_NUMBERED_KEY = re.compile(
    r"(?i)(?:label|class|segment|structure|roi|value|name)?[ _.-]*(?:value|name)?[ _.-]*(\d{1,5})(?:[ _.-]*name)?"
)
_MAY_NAME = re.compile(r"(?i).*(label|class|segment|structure|roi|name|legend).*")


@dataclass(frozen=True)
class HeaderNames:
    """Names in the header of one file.

    Attributes:
        segments: Named segments; () for a plain label map.
        values: Value -> name of a plain label map.
        unused: Header fields that may name labels but are not understood.
    """

    segments: tuple[Segment, ...] = ()
    values: Mapping[int, str] | None = None
    unused: tuple[str, ...] = ()


def names_of(path: Path, header: Mapping[str, Any], dimension: int) -> HeaderNames:
    """Return the names of labels in a header.

    Args:
        path: The file, for the error text.
        header: Key -> value, of NRRD or MetaImage.
        dimension: Number of axes of the array, 4 if there are layers.

    Raises:
        DataError: The header names labels in a known form, but is damaged.
    """
    segments = _slicer(path, header, dimension) or _mitk(path, header) or _mitk_legacy(path, header)
    if segments:
        return HeaderNames(segments)
    values: dict[int, str] = {}
    unused = []
    for key, entry in header.items():
        text = str(entry).strip()
        if not isinstance(entry, str) or not text or _is_standard(key, text):
            continue
        named = _json_names(text) if _NAMES_KEY.fullmatch(key) else {}
        number = _NUMBERED_KEY.fullmatch(key)
        if named:
            values |= named
        elif number and re.search(r"[^\W\d]", text) and len(text) <= 200:
            values |= {int(number.group(1)): text} if int(number.group(1)) else {}
        elif _MAY_NAME.fullmatch(key):
            unused.append(f"{key}:={text[:60]}")
    return HeaderNames((), values, tuple(unused))


def _is_standard(key: str, text: str) -> bool:
    """Return whether a header field is one of the format itself; `labels` of NRRD are names of axes."""
    axes = key.lower() == "labels" and not _json_names(text)
    return axes or (key.lower() != "labels" and _FOREIGN.fullmatch(key) is not None)


def _json_names(text: str) -> dict[int, str]:
    """Return value -> name of a JSON text, of `1=GTVp, 2=GTVn` or of `GTVp:1; GTVn:2`; {} if it is neither."""
    try:
        return named_in_json(parse_json(text))
    except ValueError:
        pass
    words = [word for word in re.split(r"[,;|\n]+", text) if word.strip()]
    first = [re.fullmatch(r"\s*(\d{1,5})\s*[:=]\s*(\D.*?)\s*", word) for word in words]
    second = [re.fullmatch(r"\s*(.*?\D)\s*[:=]\s*(\d{1,5})\s*", word) for word in words]
    if all(first):
        return {int(m.group(1)): m.group(2) for m in first if m is not None and int(m.group(1))}
    if all(second):
        return {int(m.group(2)): m.group(1) for m in second if m is not None and int(m.group(2))}
    return {}


def _slicer(path: Path, header: Mapping[str, Any], dimension: int) -> tuple[Segment, ...]:
    """Return the segments of 3D Slicer. Before Slicer 4.11 each has its own layer and the value 1."""
    representation = str(
        header.get("Segmentation_SourceRepresentation", header.get("Segmentation_MasterRepresentation", ""))
    )
    if "fractional" in representation.lower():
        raise DataError(f"{path}: holds fractions ({representation}): convert it to a binary labelmap in Slicer")
    numbers = sorted({int(m.group(1)) for key in header if (m := re.fullmatch(r"Segment(\d+)_(?:ID|Name)", key))})
    single = dimension == 3
    try:
        return tuple(
            Segment(
                name=str(header.get(f"Segment{n}_Name") or header.get(f"Segment{n}_ID")),
                layer=int(header.get(f"Segment{n}_Layer", 0 if single else n)),
                value=int(header.get(f"Segment{n}_LabelValue", 1)),
                colour=_colour(str(header.get(f"Segment{n}_Color") or header.get(f"Segment{n}_DefaultColor")).split()),
            )
            for n in numbers
        )
    except ValueError as error:
        raise DataError(f"{path}: a segment's layer or label value is no number ({error}): export it again") from error


def _mitk(path: Path, header: Mapping[str, Any]) -> tuple[Segment, ...]:
    """Return the labels of MITK: one group for each layer, {"labels": [{"name", "value", "color"}, ...]}."""
    text = next((str(header[key]) for key in header if key.replace("_", ".") == MITK_GROUPS), None)
    if text is None:
        return ()
    for candidate in (text, text.replace("\\n", "\n").replace("\\\\", "\\")):  # NRRD escapes both
        try:
            groups = parse_json(candidate)
            return tuple(
                Segment(str(label["name"]), layer, int(label["value"]), _mitk_colour(label.get("color")))
                for layer, group in enumerate(groups)
                for label in group["labels"]
                if int(label["value"]) != 0
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            cause = f"{type(error).__name__}: {error}"
    raise DataError(
        f"{path}: its header names labels ({MITK_GROUPS}), but they cannot be read ({cause}): save it again with MITK, "
        "or as .nii.gz with a labels.txt"
    )


def _mitk_legacy(path: Path, header: Mapping[str, Any]) -> tuple[Segment, ...]:
    """Return the labels of MITK before 2022: an XML element in each field label_LAYER_NUMBER."""
    if header.get("modality") != _MITK_LEGACY:
        return ()
    fields = {key: m for key in header if (m := re.fullmatch(r"label_(\d{3})_(\d{5})", key))}
    segments, damaged = [], []
    for key, match in fields.items():
        xml = str(header[key]).replace('\\"', '"')
        name = re.search(r"""key=["']name["'][^>]*>\s*<string\s+value=["']([^"']*)""", xml)
        value = re.search(r"""key=["']value["'][^>]*>\s*<\w+\s+value=["'](\d+)""", xml)
        if name is None or value is None:
            damaged.append(key)
        elif int(value.group(1)):
            segments.append(Segment(html.unescape(name.group(1)), int(match.group(1)), int(value.group(1))))
    if damaged or not segments:
        what = and_more(damaged, 4) or "no label_000_00001"
        raise DataError(
            f"{path}: is a segmentation of MITK whose labels cannot be read ({what}): save it with a newer MITK, or as "
            ".nii.gz with a labels.txt"
        )
    return tuple(segments)


def _mitk_colour(entry: Any) -> Colour | None:
    """Return the colour of a label of MITK, {"type": ..., "value": [r, g, b]} or [r, g, b], 0 to 1."""
    numbers = entry.get("value") if isinstance(entry, Mapping) else entry
    return _colour([str(n) for n in numbers]) if isinstance(numbers, list) else None


def _colour(words: Sequence[str]) -> Colour | None:
    """Parse a colour such as 0.5 0.68 0.5; None if it is no colour."""
    try:
        red, green, blue = (min(255, max(0, round(255 * float(word)))) for word in words)
    except (ValueError, OverflowError):
        return None
    return red, green, blue
