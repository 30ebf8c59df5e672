"""150 files of strangers that try to run code, to write outside of the output folder, or to exhaust the machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .tiny import RECIPE

PAYLOADS = (
    "!!python/object/apply:os.system ['touch CANARY']",
    "\"$__import__('os').system('touch CANARY')\"",
    "{_target_: os.system, command: 'touch CANARY'}",
    "../../CANARY",
    "CANARY",
    "'`touch CANARY`'",
    "$(touch CANARY)",
    '"\\x1b]0;CANARY\\a\\n"',
    "\"{{ ''.__class__.__mro__ }}\"",
    "os.system",
)
KEYS = (
    ("name: tiny", "name"),
    ("annotation: scribblesTr", "annotation"),
    ("use: unet", "use"),
    ("partial_loss: {weight: 1.0}", "partial_loss"),
    ("device: cpu", "device"),
    ("precision: fp32", "precision"),
    ("network: both", "network"),
)
NAMES = (
    "../../CANARY",
    "CANARY",
    "..",
    ".",
    "",
    "a/../../b",
    "\x1b[2J",
    "a\nb",
    "=cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    "[b]bold",
    "a\x00b",
    "x" * 5000,
    "\u202eabc",
)
DEEP = ("[" * 100_000, '{"labels":' * 100_000, '{"a": ' + "[" * 50_000 + "]" * 50_000 + "}")


@dataclass(frozen=True)
class Hostile:
    """One file of a stranger.

    Attributes:
        kind: recipe, dataset, annotation or weights.
        name: For the test's name.
        make: Turns the sound text of the file into the hostile one.
    """

    kind: str
    name: str
    make: Callable[[str], str]


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[str], str]:
    """Return a function that changes the object in a JSON text."""

    def edit(text: str) -> str:
        content = json.loads(text)
        change(content)
        return json.dumps(content)

    return edit


def _set(content: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for part in parents:
        content = content.setdefault(part, {})
    content[last] = value


def _recipes() -> Iterator[Hostile]:
    for text, key in KEYS:
        for n, payload in enumerate(PAYLOADS):
            yield Hostile("recipe", f"{key} {n}", lambda sound, t=text, k=key, p=payload: sound.replace(t, f"{k}: {p}"))


def _datasets() -> Iterator[Hostile]:
    for n, name in enumerate(NAMES):
        labels = {"background": 0, name: 1, "right": 2}
        yield Hostile("dataset", f"label {n}", edited(lambda c, v=labels: _set(c, "labels", v)))
    for n, text in enumerate(DEEP):
        yield Hostile("dataset", f"deep {n}", lambda sound, t=text: t)
    for key, value in (
        ("name", NAMES[0]),
        ("name", "\x1b[2J" * 1000),
        ("file_ending", "/../../CANARY.nii.gz"),
        ("file_ending", "CANARY"),
        ("scribbles.dir", "../../.."),
        ("scribbles.ignore_value", "__import__('os')"),
        ("channel_names", {"0": NAMES[0], "1": "MR"}),
        ("channel_names", {"0": "CT", "/../1": "MR"}),
        ("channel_names", {"9" * 5000: "CT"}),
        ("labels", {"a": 1e400}),
        ("labels", {str(n): n for n in range(50_000)}),
        ("annotated_classes", {"../../CANARY": ["left"]}),
        ("numTraining", "CANARY"),
    ):
        yield Hostile("dataset", f"{key} {str(value)[:20]!r}", edited(lambda c, k=key, v=value: _set(c, k, v)))


def _annotations() -> Iterator[Hostile]:
    for n, text in enumerate(DEEP):
        yield Hostile("annotation", f"deep {n}", lambda sound, t=text: t)
    for key, value in (
        ("ignore_value", "CANARY"),
        ("ignore_value", True),
        ("ignore_value", 1e308),
        ("ignore_value", [3]),
        ("annotated_classes", {"../../CANARY": ["left"]}),
        ("annotated_classes", {"case_0": ["../../CANARY"]}),
        ("annotated_classes", {"case_0": "left"}),
        ("annotated_classes", [1]),
        ("annotated_classes", {"\x1b[2J": []}),
        ("kind", "../../CANARY"),
        ("kind", {"_target_": "os.system"}),
        ("by_case", {"../../CANARY": {"minutes": 1}}),
        ("by_case", [1]),
        ("colours", {"CANARY": "x"}),
        ("name", "\x00"),
        ("ignore_value", 10**400),
        ("annotated_classes", {"case_0": [{"a": 1}]}),
    ):
        yield Hostile("annotation", f"{key} {str(value)[:20]!r}", edited(lambda c, k=key, v=value: _set(c, k, v)))


def _weights() -> Iterator[Hostile]:
    for n, name in enumerate(NAMES):
        classes = ["background", name, "right"]
        yield Hostile("weights", f"class {n}", edited(lambda c, v=classes: _set(c, "classes", v)))
    for key, value in (
        ("classes", "CANARY"),
        ("classes", [["a"], "b"]),
        ("classes", ["a", "a", "a"]),
        ("ending", "/../../CANARY"),
        ("ending", ".nii.gz/../../CANARY"),
        ("ending", ""),
        ("modalities", [["ct", "CT", "../../CANARY"]]),
        ("modalities", [["../../CANARY", "CT", 0], ["mr", "MR", 1]]),
        ("modalities", "CANARY"),
        ("preprocessing", []),
        ("precision", "__import__('os')"),
        ("recipe", "CANARY"),
        ("recipe.networks.both.use", "../../CANARY"),
        ("plugins", [{"name": "networks./tmp/CANARY", "version": "", "sha256": "", "source": "CANARY"}]),
        ("plugins", "x"),
    ):
        yield Hostile("weights", f"{key} {str(value)[:20]!r}", edited(lambda c, k=key, v=value: _set(c, k, v)))
    yield Hostile("weights", "deep", lambda sound: DEEP[0])


HOSTILE = (*_recipes(), *_datasets(), *_annotations(), *_weights())


def sound_text(kind: str, root: Path, run: Path) -> str:
    """Return the sound text of a file."""
    if kind == "recipe":
        return RECIPE.format(root=root)
    if kind == "annotation":
        return '{"ignore_value": 3}'
    return (root / "dataset.json" if kind == "dataset" else run / "weights.json").read_text()
