"""Every setting has a sentence, and the source text says of it what the imported class says."""

import inspect
from pathlib import Path

import pytest

from wsseg.core.contracts import Fusion, Network, Term
from wsseg.data.transforms import Augmentation
from wsseg.recipe import plugins
from wsseg.recipe.describe import Setting, all_settings, class_settings, plugin_setting
from wsseg.recipe.schema import SECTIONS, NetworkEntry, TermEntry
from wsseg.recipe.source import PACKAGE

ALL = {setting.key: setting for root in all_settings() for setting in root.walk()}
GROUPS = {
    "networks": ("networks", Network),
    "supervision": ("supervision", Term),
    "fusion": ("networks.fusion", Fusion),
}
PLUGINS = [(group, name) for group, (package, _) in GROUPS.items() for name in plugins.names(package)]


@pytest.mark.parametrize("key", ALL)
def test_every_setting_has_a_sentence(key: str) -> None:
    sentence = ALL[key].sentence
    assert len(sentence) > 8 and sentence.rstrip("`").endswith("."), (
        f"{key}: write one sentence: `Field(description=...)`, or the argument in `Args:` of the class docstring"
    )


@pytest.mark.parametrize(("group", "name"), PLUGINS)
def test_the_arguments_of_a_plug_in_are_those_of_its_signature(group: str, name: str) -> None:
    package, kind = GROUPS[group]
    parameters = [
        p for p in inspect.signature(plugins.find(package, name, kind)).parameters.values() if p.kind is p.KEYWORD_ONLY
    ]
    own = {child.name: child for child in ALL[f"{group}.{name}"].children if not child.shared}
    assert list(own) == [p.name for p in parameters]
    for parameter in parameters:
        assert own[parameter.name].default == as_yaml(parameter.default)


def as_yaml(value: object) -> str:
    if value is inspect.Parameter.empty:
        return ""
    return (
        {True: "true", False: "false", None: "null", "": "''"}.get(value, str(value))
        if not isinstance(value, int | float) or isinstance(value, bool)
        else str(value)
    )


def test_the_settings_of_a_model_are_its_fields() -> None:
    models = {model.__name__: model for model in (*SECTIONS, NetworkEntry, TermEntry)}
    for name, model in models.items():
        described = class_settings(PACKAGE / "recipe/schema.py", name, "")
        assert [s.name for s in described] == [f.alias or n for n, f in model.model_fields.items()]
        for setting, field in zip(described, model.model_fields.values(), strict=True):
            assert setting.sentence == field.description
            assert (setting.default == "") == (field.is_required() or setting.values == "")
    augmentation = class_settings(PACKAGE / "data/transforms.py", "Augmentation", "")
    assert [s.name for s in augmentation] == list(Augmentation.model_fields)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("training.clip_norm", "number > 0"),
        ("training.ema", "0 <= number < 1"),
        ("training.precision", "one of auto, bf16, fp32"),
        ("data.patch_size", "list of 3, each whole number >= 1 or null"),
        ("data.augmentation.noise_std", "two numbers, 0 <= low <= high"),
        ("supervision.gated_crf.offsets_share", "0 < number <= 1"),
        ("supervision.entropy.region", "one of all, unannotated, confident"),
        ("networks.unet.deep_supervision", "true or false"),
    ],
)
def test_values_are_told_in_words(key: str, values: str) -> None:
    assert ALL[key].values == values


def test_a_file_outside_the_package_is_described(tmp_path: Path) -> None:
    path = tmp_path / "edge_loss.py"
    path.write_text(
        "from pydantic import PositiveFloat\nLIMIT = 3\n\n"
        "class EdgeLoss:\n"
        '    """Penalise edges.\n\n    Args:\n'
        '        width_mm: Width of an edge in mm,\n            above 0.\n    """\n\n'
        "    def __init__(self, setting, *, width_mm: PositiveFloat | None = None, most: int = LIMIT): ...\n"
    )
    setting = plugin_setting(path, "supervision.edge_loss")
    assert setting.sentence == "Penalise edges."
    assert setting.children[0] == Setting(
        key="supervision.edge_loss.width_mm", values="number > 0 or null", default="null",
        sentence="Width of an edge in mm, above 0.",
    )  # fmt: skip
    assert setting.children[1].default == "3"
