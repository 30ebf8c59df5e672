"""The one reader of JSON: every fault of a text is a ValueError."""

import pytest

from wsseg.core.plain_json import parse_json


def test_plain_json_is_read() -> None:
    assert parse_json(b'{"a": [1, 2.5, null, "x"]}') == {"a": [1, 2.5, None, "x"]}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        (b"[" * 1_000_000, "nested too deeply"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' stands twice"),
        ("1" * 5000, "digits"),
        (b"\xff\xfe\x00", "decode|Expecting"),
        ("{'a': 1}", "property name"),
        ("", "Expecting"),
    ],
)
def test_a_text_that_cannot_be_read_is_a_value_error(text: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_json(text)
