"""Ordered rules: their grammar, which one counts, and those that never would."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jft.errors import InputError
from jft.tree import first_match, parse_rules

NAMES = ["stem/conv/kernel", "stem/norm/bias", "head/kernel", "head/bias"]


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("*=1", (("*", 1.0),)),
        (" head/*=0 , */kernel = 0.5 ", (("head/*", 0.0), ("*/kernel", 0.5))),
        ("a=1e-3,b=2,a=3", (("a", 1e-3), ("b", 2.0), ("a", 3.0))),
    ],
)
def test_rules_are_pairs_in_the_order_written(text: str, rules: object):
    assert parse_rules(text, what="optim.decay_rules") == rules


def test_a_rule_without_a_number_has_the_default_if_there_is_one():
    rules = parse_rules("stem/*,head/*=0.1", what="freeze", default=0.0)
    assert rules == (("stem/*", 0.0), ("head/*", 0.1))


@pytest.mark.parametrize(
    "entry",
    ["a", "", "=1", "a=", "a=b", "a=-1", "a=-1e-9", "a=nan", "a=inf", "a=1=2", "a=1 2"],
)
def test_all_malformed_entries_are_one_message(entry: str):
    with pytest.raises(InputError) as caught:
        parse_rules(f"*/kernel=1,{entry},b", what="optim.decay_rules")
    assert str(caught.value) == (
        "optim.decay_rules must be PATTERN=NUMBER separated by commas, each number "
        f"finite and at least 0\n- {entry!r}\n- 'b'"
    )


@pytest.mark.parametrize("entry", ["", "=1", "a=", "a=-1", "a=nan"])
def test_with_a_default_an_entry_needs_a_pattern_and_no_wrong_number(entry: str):
    with pytest.raises(InputError) as caught:
        parse_rules(f"stem/*,{entry}", what="freeze", default=0.0)
    assert str(caught.value) == (
        "freeze must be PATTERN or PATTERN=NUMBER separated by commas, each number "
        f"finite and at least 0\n- {entry!r}"
    )


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        ([], {}),
        ([("*", 2.0)], dict.fromkeys(NAMES, 2.0)),
        ([("head/*", 0.0)], {"head/kernel": 0.0, "head/bias": 0.0}),
        (
            [("*/bias", 1.0), ("head/*", 2.0), ("*", 3.0)],
            {
                "stem/conv/kernel": 3.0,
                "stem/norm/bias": 1.0,
                "head/kernel": 2.0,
                "head/bias": 1.0,
            },
        ),
        (
            [("*/kernel", 1.0), ("head/*", 2.0)],
            {"stem/conv/kernel": 1.0, "head/kernel": 1.0, "head/bias": 2.0},
        ),
    ],
)
def test_the_first_match_counts_and_what_none_matches_is_absent(rules, found):
    result = first_match(tuple(rules), iter(NAMES), what="freeze")
    assert result == found
    assert list(result) == [name for name in NAMES if name in found]


def test_patterns_that_match_nothing_come_with_the_setting_and_near_names():
    rules = (("stem/*", 1.0), ("hed/*", 1.0), ("head/kernal", 0.0))
    with pytest.raises(InputError) as caught:
        first_match(rules, NAMES, what="optim.decay_rules")
    assert str(caught.value) == (
        "optim.decay_rules: no parameter matches\n"
        "- 'head/kernal'; did you mean 'head/kernel' or 'head/bias'?\n"
        "- 'hed/*'; did you mean 'head/*'?"
    )


def test_patterns_whose_names_are_all_taken_are_refused_with_what_took_them():
    rules = (("*/kernel", 1.0), ("*/bias", 0.0), ("head/*", 2.0), ("*/kernel", 3.0))
    with pytest.raises(InputError) as caught:
        first_match(rules, NAMES, what="freeze")
    assert str(caught.value) == (
        "freeze: the first pattern that matches a name applies, so these never do; put "
        "them first\n"
        "- 'head/*' after '*/kernel' and '*/bias'\n"
        "- '*/kernel' after '*/kernel'"
    )


PATTERNS = st.sampled_from(["*", "head/*", "stem/*", "*/kernel", "*/bias", *NAMES])
NUMBERS = st.floats(0, 1e30, allow_subnormal=False)


@given(st.lists(st.tuples(PATTERNS, NUMBERS), min_size=1, max_size=5))
def test_rules_survive_being_written_down(rules: list[tuple[str, float]]):
    text = ",".join(f"{pattern}={number!r}" for pattern, number in rules)
    assert parse_rules(text, what="freeze") == tuple(rules)
