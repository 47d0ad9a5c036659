import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from conftest import TINY
from flax.core import FrozenDict

from jft import tree
from jft.errors import InputError
from jft.freeze.rules import (
    GRAMMAR,
    FreezeSpec,
    StageCount,
    frozen,
    frozen_layers,
    layer_of,
    summarise,
)
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


def rates(rule: str, model: ModelSpec, params: Any = PARAMS) -> dict[str, float]:
    return tree.flatten(FreezeSpec.parse(rule, model).lr_mults(params, model))


def frozen_names(*patterns: str, params: Any = PARAMS) -> set[str]:
    spec = FreezeSpec(tuple((pattern, 0.0) for pattern in patterns))
    held = tree.flatten(frozen(spec.lr_mults(params, TINY)))
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
        (RESNET50, "from:stage3", "stage3/* stage4/*"),
        (RESNET20, "from:stem", "stem/* stage1/* stage2/* stage3/*"),
        (RESNET20, "stem/*", "stem/*"),
        (RESNET20, "*/bias, stage1/block?/*", "*/bias stage1/block?/*"),
        (RESNET50, "*", "*"),
        (RESNET50, "stage[12]/*,head/bias", "stage[12]/* head/bias"),
    ],
)
def test_a_rule_stands_for_these_patterns(model: ModelSpec, rule: str, patterns: str):
    rules = tuple((pattern, 0.0) for pattern in patterns.split())
    assert FreezeSpec.parse(rule, model).rules == rules


@pytest.mark.parametrize(("model", "blocks"), [(RESNET20, 9), (RESNET50, 16)])
def test_the_first_layers_may_be_all_but_the_head(model: ModelSpec, blocks: int):
    patterns = [p for p, _ in FreezeSpec.parse(f"first:{blocks + 1}", model).rules]
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
            f"rules: {GRAMMAR}",
        ),
        (
            "decoder",
            f"freeze 'decoder' is not a rule\nrules: {GRAMMAR}",
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
        "from jft.freeze.rules import FreezeSpec\n"
        "from jft.models import MODELS\n"
        "print(FreezeSpec.parse('until:stem', MODELS['resnet50']).rules)\n"
        "assert 'jax' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "(('stem/*', 0.0),)\n"


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
    shares = rates("all-but:stage1,head", tiny)
    free = {name for name, share in shares.items() if share}
    assert {name.split("/")[0] for name in free} == {"stage1", "head"}
    assert len(free) == 5


@pytest.mark.parametrize(
    "patterns", [("*",), ("stem/*", "stage1/*", "stage2/*", "head/*")]
)
def test_everything_frozen_is_an_error(patterns: tuple[str, ...]):
    with pytest.raises(InputError, match=r"nothing to train; all-but:head trains"):
        FreezeSpec(tuple((p, 0.0) for p in patterns)).lr_mults(PARAMS, TINY)


def test_patterns_that_match_nothing_are_one_error_with_near_names():
    with pytest.raises(InputError) as caught:
        rates("stgae1/*,stem/*,head/kernels", TINY)
    assert str(caught.value) == (
        "freeze: no parameter matches\n"
        "- 'head/kernels'; did you mean 'head/kernel'?\n"
        "- 'stgae1/*'; did you mean 'stage1/*' or 'stage2/*' or 'stem/*'?"
    )


def test_an_empty_pattern_between_commas_is_an_error():
    with pytest.raises(InputError, match="freeze"):
        FreezeSpec.parse("stem/*,", RESNET20)


def test_the_first_pattern_that_matches_gives_the_rate():
    shares = rates("stem/*, */bias=0.5, stage1/*=0.1, stage2/*/kernel=0", TINY)
    assert shares == {
        "stem/conv/kernel": 0,
        "stem/norm/scale": 0,
        "stem/norm/bias": 0,
        "stage1/block0/conv1/kernel": 0.1,
        "stage1/block0/norm1/scale": 0.1,
        "stage1/block0/norm1/bias": 0.5,
        "stage2/block0/conv1/kernel": 0,
        "stage2/block0/norm1/scale": 1,
        "stage2/block0/norm1/bias": 0.5,
        "head/kernel": 1,
        "head/bias": 0.5,
    }


@pytest.mark.parametrize(
    ("rule", "moving"),
    [
        ("bias-only", {n for n in SHAPES if n.endswith("/bias")} | {"head/kernel"}),
        ("norm-only", {n for n in SHAPES if "norm" in n or n.startswith("head/")}),
    ],
)
def test_one_kind_of_parameter_is_trained_beside_the_head(rule: str, moving: set[str]):
    assert {name for name, share in rates(rule, TINY).items() if share == 1} == moving
    assert {share for share in rates(rule, TINY).values()} == {0, 1}


def test_a_network_without_norms_trains_none_of_them():
    with pytest.raises(InputError, match="vgg16 has no normalisation"):
        FreezeSpec.parse("norm-only", MODELS["vgg16"])


def test_from_the_head_on_is_an_error():
    with pytest.raises(InputError, match="'from:head' would freeze a new head"):
        FreezeSpec.parse("from:head", RESNET20)


def test_the_rate_falls_from_layer_to_layer_towards_the_stem():
    spec = FreezeSpec.parse("stem/norm/*,stage2/*=0.5", TINY)
    shares = tree.flatten(spec.lr_mults(PARAMS, TINY, layer_decay=0.5))
    # stem, stage1/block0, stage2/block0, head
    assert shares["head/kernel"] == 1
    assert shares["stage2/block0/conv1/kernel"] == 0.5 * 0.5
    assert shares["stage1/block0/norm1/scale"] == 0.25
    assert shares["stem/conv/kernel"] == 0.125
    assert shares["stem/norm/bias"] == 0


@pytest.mark.parametrize(
    ("model", "name", "layer"),
    [
        ("resnet50", "stem/conv/kernel", "stem"),
        ("resnet50", "stage3/block5/norm2/scale", "stage3/block5"),
        ("resnet101", "stage3/block12/conv1/kernel", "stage3/block12"),
        ("resnetv2_50x1_bit", "stage4/norm/scale", "stage4/block2"),
        ("vgg16", "stage2/layer1/conv/bias", "stage2/layer1"),
        ("vgg16", "pre_logits/fc2/kernel", "pre_logits/fc2"),
        ("vgg16", "head/bias", "head"),
    ],
)
def test_every_parameter_is_in_a_layer(model: str, name: str, layer: str):
    assert layer_of(name, MODELS[model]) == layer


def test_layers_are_held_when_all_of_their_parameters_are():
    rule = FreezeSpec.parse("stem/*,stage1/*/norm1/*,stage2/*/norm1/*,*/conv1/*", TINY)
    shares = rule.lr_mults(PARAMS, TINY)
    assert frozen_layers(shares, TINY) == {"stem", "stage1/block0", "stage2/block0"}
    shares["stage2"]["block0"]["norm1"]["bias"] = 0.1
    assert frozen_layers(shares, TINY) == {"stem", "stage1/block0"}


def test_the_summary_counts_elements_per_stage_in_depth_order(tiny: ModelSpec):
    rule = FreezeSpec.parse("stem/*,stage2/*/norm1/*,head/bias,stage1/*=0.1", tiny)
    assert summarise(PARAMS, rule.lr_mults(PARAMS, tiny), tiny) == [
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
    counts = summarise(params, rule.lr_mults(params, tiny), tiny)
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
