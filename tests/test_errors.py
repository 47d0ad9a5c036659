import pytest

from jft.errors import InputError, nearest

STAGES = ["stem", "stage1", "stage2", "stage3", "head"]


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("hed", "; did you mean 'head'?"),
        ("stge2", "; did you mean 'stage2' or 'stage3' or 'stage1'?"),
        ("HEAD", "; did you mean 'head'?"),
        ("stag", "; did you mean 'stage3' or 'stage2' or 'stage1'?"),
        ("decoder", ""),
        ("", ""),
    ],
)
def test_the_hint_names_the_likeliest_names_first(given: str, hint: str):
    assert nearest(given, STAGES) == hint


def test_the_hint_has_no_more_names_than_asked_for():
    assert nearest("stge2", STAGES, count=1) == "; did you mean 'stage2'?"
    assert nearest("stge2", STAGES, count=2).count("stage") == 2


def test_the_valid_names_may_be_read_only_once():
    assert nearest("hed", iter(STAGES)) == nearest("hed", STAGES)
    assert nearest("hed", dict.fromkeys(STAGES)) == nearest("hed", STAGES)


def test_there_is_no_hint_without_valid_names():
    assert nearest("stem", []) == ""


def test_an_input_error_is_a_value_error_that_keeps_its_message():
    with pytest.raises(ValueError, match=r"^no such stage$"):
        raise InputError("no such stage")
