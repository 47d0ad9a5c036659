import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from flax.core import FrozenDict

from jft import tree
from jft.errors import InputError
from jft.freeze import FreezeSpec, StageCount, stored_norms, summarise
from jft.models import MODELS, ModelSpec

RESNET20, RESNET50 = MODELS["resnet20"], MODELS["resnet50"]

# Named like the parameters of the fixture `tiny`; sizes are all different, so that a
# sum tells which leaves are in it.
SHAPES = {
    "stem/conv/kernel": (3, 3),
    "stem/norm/scale": (2,),
    "stem/norm/bias": (4,),
    "stage1/block0/conv1/kernel": (5, 4),
    "stage1/block0/norm1/scale": (7,),
    "stage1/block0/norm1/bias": (11,),
    "stage2/block0/conv1/kernel": (6, 7),
    "stage2/block0/norm1/scale": (13,),
    "stage2/block0/norm1/bias": (17,),
    "head/kernel": (9, 9),
    "head/bias": (1,),
}
PARAMS = tree.unflatten({name: np.zeros(shape) for name, shape in SHAPES.items()})


def frozen_names(*patterns: str, params: Any = PARAMS) -> set[str]:
    held = tree.flatten(FreezeSpec(patterns).frozen(params))
    assert all(type(value) is bool for value in held.values())
    assert list(held) == list(tree.flatten(params))
    return {name for name, value in held.items() if value}


@pytest.mark.parametrize(
    ("model", "rule", "patterns"),
    [
        (RESNET20, "none", ""),
        (RESNET20, "until:stem", "stem/*"),
        (RESNET20, "until:stage2", "stem/* stage1/* stage2/*"),
        (RESNET50, "until:stage4", "stem/* stage1/* stage2/* stage3/* stage4/*"),
        (RESNET20, "first:1", "stem/*"),
        (RESNET20, "first:3", "stem/* stage1/block0/* stage1/block1/*"),
        (
            RESNET20,
            "first:5",
            "stem/* stage1/block0/* stage1/block1/* stage1/block2/* stage2/block0/*",
        ),
        (
            RESNET50,
            "first:6",
            "stem/* stage1/block0/* stage1/block1/* stage1/block2/* "
            "stage2/block0/* stage2/block1/*",
        ),
        (RESNET20, "all-but:head", "stem/* stage1/* stage2/* stage3/*"),
        (RESNET50, "all-but:head", "stem/* stage1/* stage2/* stage3/* stage4/*"),
        (RESNET20, "all-but:stage3,head", "stem/* stage1/* stage2/*"),
        (RESNET50, "all-but:head,stage2", "stem/* stage1/* stage3/* stage4/*"),
        (RESNET20, "stem/*", "stem/*"),
        (RESNET20, "*/bias, stage1/block?/*", "*/bias stage1/block?/*"),
        (RESNET50, "*", "*"),
        (RESNET50, "stage[12]/*,head/bias", "stage[12]/* head/bias"),
    ],
)
def test_a_rule_stands_for_these_patterns(model: ModelSpec, rule: str, patterns: str):
    assert FreezeSpec.parse(rule, model).patterns == tuple(patterns.split())


@pytest.mark.parametrize(("model", "blocks"), [(RESNET20, 9), (RESNET50, 16)])
def test_the_first_layers_may_be_all_but_the_head(model: ModelSpec, blocks: int):
    patterns = FreezeSpec.parse(f"first:{blocks + 1}", model).patterns
    assert patterns[0] == "stem/*"
    assert len(patterns) == blocks + 1
    assert not any(p.startswith("head") for p in patterns)
    with pytest.raises(InputError):
        FreezeSpec.parse(f"first:{blocks + 2}", model)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            "until:stage4",
            "resnet20 has no stage 'stage4'; did you mean 'stage3'?\n"
            "stages: stem, stage1, stage2, stage3, head",
        ),
        (
            "until:",
            "resnet20 has no stage ''\nstages: stem, stage1, stage2, stage3, head",
        ),
        (
            "all-but:stage1,haed",
            "resnet20 has no stage 'haed'; did you mean 'head'?\n"
            "stages: stem, stage1, stage2, stage3, head",
        ),
        (
            "first:11",
            "freeze first:11 must give a number of layers from 1 to 10: "
            "resnet20 has 11",
        ),
        (
            "until stage2",
            "freeze 'until stage2' is not a rule; did you mean 'until:stage2' or "
            "'until:stage3' or 'until:stage1'?\n"
            "rules: none, until:STAGE, first:N, all-but:STAGE, or glob patterns as "
            "'stem/*'",
        ),
        (
            "decoder",
            "freeze 'decoder' is not a rule\n"
            "rules: none, until:STAGE, first:N, all-but:STAGE, or glob patterns as "
            "'stem/*'",
        ),
    ],
)
def test_a_rule_that_means_nothing_is_answered_with_what_would(rule: str, message: str):
    with pytest.raises(InputError) as caught:
        FreezeSpec.parse(rule, RESNET20)
    assert str(caught.value) == message


@pytest.mark.parametrize("count", ["0", "-1", "2.5", "two", "", "17 "])
def test_a_number_of_layers_that_is_none_is_an_error(count: str):
    with pytest.raises(InputError, match="a number of layers from 1 to 17"):
        FreezeSpec.parse(f"first:{count}", RESNET50)


@pytest.mark.parametrize(
    ("rule", "near"),
    [
        ("None", "'none'"),
        ("stage1", "'until:stage1'"),
        ("allbut:head", "'all-but:head'"),
        ("first1", "'first:1'"),
        ("untill:stage2", "'until:stage2'"),
    ],
)
def test_a_misspelt_rule_is_answered_with_the_nearest_rules(rule: str, near: str):
    with pytest.raises(InputError, match=f"is not a rule; did you mean .*{near}"):
        FreezeSpec.parse(rule, RESNET20)


def test_reading_a_rule_does_not_import_jax():
    program = (
        "import sys\n"
        "from jft.freeze import FreezeSpec\n"
        "from jft.models import MODELS\n"
        "print(*FreezeSpec.parse('until:stage1', MODELS['resnet50']).patterns)\n"
        "assert 'jax' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "stem/* stage1/*\n"


def test_no_pattern_freezes_nothing():
    assert frozen_names() == set()


@pytest.mark.parametrize("kind", [dict, FrozenDict])
def test_a_leaf_is_frozen_if_some_pattern_matches_its_name(kind: type):
    assert frozen_names("stem/*", "*/block0/norm1/*", params=kind(PARAMS)) == {
        "stem/conv/kernel",
        "stem/norm/scale",
        "stem/norm/bias",
        "stage1/block0/norm1/scale",
        "stage1/block0/norm1/bias",
        "stage2/block0/norm1/scale",
        "stage2/block0/norm1/bias",
    }


def test_all_but_a_part_leaves_exactly_that_part_to_train(tiny: ModelSpec):
    rule = FreezeSpec.parse("all-but:stage1,head", tiny)
    free = set(SHAPES) - frozen_names(*rule.patterns)
    assert {name.split("/")[0] for name in free} == {"stage1", "head"}
    assert len(free) == 5


@pytest.mark.parametrize(
    "patterns", [("*",), ("stem/*", "stage1/*", "stage2/*", "head/*")]
)
def test_everything_frozen_is_an_error(patterns: tuple[str, ...]):
    with pytest.raises(InputError, match=r"nothing to train; all-but:head trains"):
        FreezeSpec(patterns).frozen(PARAMS)


def test_patterns_that_match_nothing_are_one_error_with_near_names():
    with pytest.raises(InputError) as caught:
        FreezeSpec(("stgae1/*", "stem/*", "head/kernels")).frozen(PARAMS)
    assert str(caught.value) == (
        "no parameter matches\n"
        "- 'head/kernels'; did you mean 'head/kernel'?\n"
        "- 'stgae1/*'; did you mean 'stage1/*' or 'stage2/*' or 'stem/*'?"
    )


def test_an_empty_pattern_between_commas_is_an_error():
    with pytest.raises(InputError, match=r"no parameter matches\n- ''$"):
        FreezeSpec.parse("stem/*,", RESNET20).frozen(PARAMS)


@pytest.mark.parametrize(
    ("patterns", "stored"),
    [
        ((), set()),
        (("stem/*",), {"stem/norm"}),
        (("*/scale",), set()),
        (("*/norm/bias", "*/norm1/bias"), set()),
        (("stem/norm/scale", "stem/norm/bias"), {"stem/norm"}),
        (("stem/norm/scale", "stage1/block0/norm1/bias"), set()),
        (("*/kernel",), set()),
        (("*/kernel", "stage2/block0/*"), {"stage2/block0/norm1"}),
        (
            ("*/scale", "*/bias"),
            {"stem/norm", "stage1/block0/norm1", "stage2/block0/norm1"},
        ),
    ],
)
def test_a_norm_keeps_its_statistics_iff_scale_and_bias_are_frozen(patterns, stored):
    assert stored_norms(FreezeSpec(patterns).frozen(PARAMS)) == stored


def test_the_summary_counts_elements_per_stage_in_depth_order(tiny: ModelSpec):
    frozen = FreezeSpec(("stem/*", "stage2/*/norm1/*", "head/bias")).frozen(PARAMS)
    assert summarise(PARAMS, frozen, tiny) == [
        StageCount("stem", 9 + 2 + 4, 9 + 2 + 4),
        StageCount("stage1", 20 + 7 + 11, 0),
        StageCount("stage2", 42 + 13 + 17, 13 + 17),
        StageCount("head", 81 + 1, 1),
    ]


def test_the_summary_of_a_real_network_adds_up_to_its_parameters(tiny: ModelSpec):
    import jax

    model = tiny.build(tiny.num_classes)
    image = np.zeros((1, 8, 8, 3), np.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
    rule = FreezeSpec.parse("until:stage1", tiny)
    counts = summarise(params, rule.frozen(params), tiny)
    # Written out from the layers' shapes: width 4, basic blocks, no shortcut weights.
    stem = 3 * 3 * 3 * 4 + 2 * 4
    stage1 = 2 * (3 * 3 * 4 * 4 + 2 * 4)
    stage2 = 3 * 3 * 4 * 8 + 3 * 3 * 8 * 8 + 2 * 2 * 8
    head = 8 * 10 + 10
    assert [(c.total, c.frozen) for c in counts] == [
        (stem, stem),
        (stage1, stage1),
        (stage2, 0),
        (head, 0),
    ]
    assert stem + stage1 + stage2 + head == tiny.parameters
