"""Names from files of other people: which may name a file, and how they are shown."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsseg.core.csv_cells import as_text, from_text
from wsseg.core.errors import DataError
from wsseg.core.names import inside, may_name_a_file, visible


@pytest.mark.parametrize("name", ["GTVp", "left lung", "[b]", "=1+1", "Läsion", "肺", "a..b", "<script>", "a|b", "-x"])
def test_a_name_that_stays_in_its_folder_may_name_a_file(tmp_path: Path, name: str) -> None:
    assert may_name_a_file(name)
    (tmp_path / name).mkdir()
    assert visible(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "/etc/x", "a/b", "a\\b", " a", ".hidden", "a\n", "a\x1b[2J", "\x00", "a\x7f", "a\x85b",
     "\ud800", "a\u2028b", "a\u202eb", None, 1, ["a"]],
)  # fmt: skip
def test_a_name_that_leads_out_or_cannot_be_seen_may_not(name: object) -> None:
    assert not may_name_a_file(name)


def test_a_path_stays_inside_its_folder_links_included(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "real").mkdir(parents=True)
    (out / "within").symlink_to(out / "real")
    (out / "link").symlink_to(tmp_path)
    assert inside(out, "new", "a.nii.gz") == out / "new" / "a.nii.gz"
    assert inside(out, "within", "a") == out / "within" / "a"
    for parts in (("..", "a"), ("link", "a"), ("new", "../../a"), ("/etc", "a"), ("real", ".."), ("..",)):
        with pytest.raises(DataError, match="leads out of"):
            inside(out, *parts)


def test_control_characters_are_shown_as_escapes() -> None:
    assert visible("a\x1b[31mb\nc\t\x00\x9b\u202e") == "a\\x1b[31mb\\nc\\t\\x00\\x9b\\u202e"
    assert len(visible("x" * 100_000)) == 4000


@given(st.text(alphabet=st.sampled_from("='+-@\t\r＝a1 \"\n,;"), max_size=6))
def test_a_name_in_a_table_is_no_formula_and_is_read_back(name: str) -> None:
    cell = as_text(name)
    assert cell[:1] not in set("=+-@\t\r＝＋－＠")
    assert from_text(cell) == name
