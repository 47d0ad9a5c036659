import hashlib

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax.core import FrozenDict

from jft import tree
from jft.errors import InputError

NESTED = {
    "stem": {"conv": {"kernel": 1}, "norm": {"scale": 2, "bias": 3}},
    "stage1": {"block0": {"conv1": {"kernel": 4}}, "block1": {"conv1": {"kernel": 5}}},
    "stage10": {"block0": {"conv1": {"kernel": 6}}},
    "head": {"kernel": 7, "bias": 8},
}
FLAT = {
    "stem/conv/kernel": 1,
    "stem/norm/scale": 2,
    "stem/norm/bias": 3,
    "stage1/block0/conv1/kernel": 4,
    "stage1/block1/conv1/kernel": 5,
    "stage10/block0/conv1/kernel": 6,
    "head/kernel": 7,
    "head/bias": 8,
}


@pytest.mark.parametrize("kind", [dict, FrozenDict])
def test_flat_names_are_the_paths_in_the_order_of_the_tree(kind: type):
    assert list(tree.flatten(kind(NESTED)).items()) == list(FLAT.items())


def test_unflatten_undoes_flatten():
    assert tree.unflatten(FLAT) == NESTED
    assert tree.unflatten(tree.flatten(NESTED)) == NESTED


def test_unflatten_takes_names_of_one_module_in_any_order():
    shuffled = dict(sorted(FLAT.items(), key=lambda item: item[0][::-1]))
    assert list(shuffled) != list(FLAT)
    assert tree.unflatten(shuffled) == NESTED


@pytest.mark.parametrize(
    ("patterns", "values"),
    [
        ([], set()),
        (["head/bias"], {8}),
        (["head/*"], {7, 8}),
        (["stage1/*"], {4, 5}),
        (["*/bias"], {3, 8}),
        (["*/block0/*"], {4, 6}),
        (["stage1/block[01]/*", "*/block0/*"], {4, 5, 6}),
        (["stage?/*"], {4, 5}),
        (["*"], {1, 2, 3, 4, 5, 6, 7, 8}),
    ],
)
def test_a_pattern_matches_whole_names_and_its_star_spans_modules(patterns, values):
    assert {FLAT[name] for name in tree.match(patterns, FLAT)} == values


def test_patterns_and_names_may_be_read_only_once():
    assert tree.match(iter(["head/*"]), iter(FLAT)) == {"head/kernel", "head/bias"}


def test_the_case_of_a_name_matters():
    with pytest.raises(InputError):
        tree.match(["Head/*"], FLAT)


def test_patterns_that_match_nothing_are_one_sorted_message_with_near_names():
    with pytest.raises(InputError) as caught:
        tree.match(["zzz", "head/*", "head/kernal", "Stem/*"], FLAT)
    assert str(caught.value) == (
        "no parameter matches\n"
        "- 'Stem/*'; did you mean 'stem/*'?\n"
        "- 'head/kernal'; did you mean 'head/kernel' or 'head/bias'?\n"
        "- 'zzz'"
    )


def test_a_misspelt_module_is_answered_with_modules():
    with pytest.raises(InputError, match=r"'stage1/blok1/\*'; .*'stage1/block1/\*'"):
        tree.match(["stage1/blok1/*"], FLAT)


def test_count_adds_up_the_elements_of_all_leaves():
    arrays = {"a": {"b": np.zeros((3, 5)), "c": jnp.zeros(())}, "d": np.zeros((0, 7))}
    assert tree.count(arrays) == 3 * 5 + 1 + 0
    assert tree.count({}) == 0


def test_the_digest_of_a_leaf_is_the_sha256_of_its_header_and_bytes():
    leaf = np.array([[1.0, -2.0]], np.float32)
    stated = b"a/b:float32:(1, 2)\n" + bytes.fromhex("0000803f 000000c0")
    assert tree.digest({"a": {"b": leaf}}) == hashlib.sha256(stated).hexdigest()


def test_every_single_flipped_bit_changes_the_digest():
    words = np.array([0x3F800000, 0xC0000000], np.uint32)

    def digest(element: int, bit: int) -> str:
        flipped = words.copy()
        flipped[element] ^= np.uint32(1 << bit)
        return tree.digest({"kernel": flipped.view(np.float32)})

    digests = {digest(element, bit) for element in range(2) for bit in range(32)}
    digests.add(tree.digest({"kernel": words.view(np.float32)}))
    assert len(digests) == 2 * 32 + 1


ZEROS = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize(
    "other",
    [
        {"a": {"kernal": ZEROS}},
        {"b": {"kernel": ZEROS}},
        {"a": {"b": {"kernel": ZEROS}}},
        {"a": {"kernel": ZEROS.view(np.int32)}},
        {"a": {"kernel": ZEROS.reshape(3, 2)}},
        {"a": {"kernel": ZEROS.reshape(6)}},
        {"a": {"kernel": ZEROS.reshape(1, 2, 3)}},
        {"a": {"kernel": -ZEROS}},
        {"a": {"kernel": ZEROS, "bias": ZEROS[:0]}},
        {},
    ],
    ids=[
        "leaf name",
        "module name",
        "depth",
        "dtype",
        "transposed shape",
        "rank",
        "leading 1",
        "sign of zero",
        "one more empty leaf",
        "no leaf",
    ],
)
def test_the_digest_tells_trees_apart(other):
    assert tree.digest(other) != tree.digest({"a": {"kernel": ZEROS}})


def test_the_digest_tells_a_scalar_from_one_element():
    one = np.ones((), np.float32)
    assert tree.digest({"a": one}) != tree.digest({"a": one.reshape(1)})


def test_the_digest_tells_which_leaf_holds_which_bytes():
    zeros, ones = np.zeros(3, np.float32), np.ones(3, np.float32)
    first = tree.digest({"a": zeros, "b": ones})
    assert first != tree.digest({"a": ones, "b": zeros})


def test_the_digest_does_not_depend_on_order_mapping_or_array_library():
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(2, 3)).astype(np.float32)
    bias = rng.normal(size=3).astype(ml_dtypes.bfloat16)
    plain = {"a": {"kernel": kernel, "bias": bias}, "b": {"scale": bias}}
    turned = {"b": {"scale": bias}, "a": {"bias": bias, "kernel": kernel}}
    on_device = {
        "a": {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)},
        "b": {"scale": jnp.asarray(bias)},
    }
    expected = tree.digest(plain)
    assert tree.digest(turned) == expected
    assert tree.digest(FrozenDict(plain)) == expected
    assert tree.digest(on_device) == expected


def test_the_digest_does_not_depend_on_the_layout_in_memory():
    kernel = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert not kernel.T.flags.c_contiguous
    assert tree.digest({"a": kernel.T}) == tree.digest({"a": kernel.T.copy("C")})
    assert tree.digest({"a": kernel.T}) != tree.digest({"a": kernel.reshape(3, 2)})
