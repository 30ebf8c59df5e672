"""Faults are collected, listed and explained in one way."""

import pytest

from wsseg.core.errors import DataError, RecipeError, and_more, collecting, did_you_mean


def test_faults_of_several_bodies_are_collected_and_the_code_goes_on() -> None:
    faults: list[str] = []
    with collecting(faults):
        raise DataError(["a.nii: broken", "b.nii: broken"])
    with collecting(faults):
        raise RecipeError("b.nii: broken")
    with collecting(faults):
        pass
    assert faults == ["a.nii: broken", "b.nii: broken"]


def test_other_exceptions_are_not_collected() -> None:
    with pytest.raises(ZeroDivisionError), collecting([]):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("count", "text"), [(0, ""), (1, "0"), (3, "0, 1, 2"), (4, "0, 1, 2 and 1 more"), (9, "0, 1, 2 and 6 more")]
)
def test_a_long_list_is_cut_and_the_rest_counted(count: int, text: str) -> None:
    assert and_more(range(count), 3) == text


def test_a_misspelt_word_gets_its_neighbour_or_all_that_is_known() -> None:
    assert "'unet'" in did_you_mean("unett", ["unet", "cross_modal_unet"])
    assert "a, b" in did_you_mean("zzz", ("b", "a"))
