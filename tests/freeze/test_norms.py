import pytest
from conftest import TINY

from jft import tree
from jft.errors import InputError
from jft.freeze import norms
from jft.models import MODELS

RESNET50 = MODELS["resnet50"]
LAYERS = ["stem/norm", "stage1/block0/norm1", "stage2/block0/norm1"]


def rates(**held: float) -> dict[str, object]:
    """Return full rates but where one is given, as `stem_norm_scale=0`."""
    names = [f"{layer}/{leaf}" for layer in LAYERS for leaf in ("scale", "bias")]
    shares = {name: held.get(name.replace("/", "_"), 1.0) for name in names}
    return tree.unflatten(shares)


def test_by_default_a_layer_is_stored_iff_scale_and_bias_are_frozen():
    shares = rates(stem_norm_scale=0, stem_norm_bias=0, stage1_block0_norm1_scale=0)
    assert norms.choose({}, shares, LAYERS) == {
        "stem/norm": "stored",
        "stage1/block0/norm1": "batch",
        "stage2/block0/norm1": "batch",
    }


def test_a_stage_takes_the_mode_that_is_given():
    shares = rates(stem_norm_scale=0, stem_norm_bias=0)
    given = norms.parse("stem=adapt, stage2=stored", TINY)
    modes = norms.choose(given, shares, LAYERS)
    assert modes == dict(zip(LAYERS, ["adapt", "batch", "stored"], strict=True))
    assert norms.in_mode(modes, "stored") == {"stage2/block0/norm1"}


@pytest.mark.parametrize("mode", norms.MODES)
def test_one_mode_stands_for_all_stages(mode: str):
    assert set(norms.parse(mode, RESNET50).values()) == {mode}
    assert set(norms.parse(mode, RESNET50)) == set(RESNET50.stages)


def test_nothing_is_given_by_default():
    assert norms.parse("auto", RESNET50) == {}
    assert norms.parse("auto", MODELS["vgg16"]) == {}


def test_adapting_is_for_frozen_stages():
    shares = rates(stem_norm_scale=0, stem_norm_bias=0, stage2_block0_norm1_bias=0)
    with pytest.raises(InputError, match="but stage1, stage2 are trained"):
        norms.choose(norms.parse("adapt", TINY), shares, LAYERS)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("storde", "unknown mode 'storde'; did you mean 'stored'"),
        ("stage1=off", "unknown mode 'off'"),
        ("stage9=batch", "no batch normalisation in stage 'stage9'; did you mean"),
        ("head=batch", "no batch normalisation in stage 'head'"),
        ("stage1=batch,stage1=stored", "names stage1 twice"),
        ("stage1=batch,", "no batch normalisation in stage ''"),
    ],
)
def test_a_rule_that_means_nothing_is_an_error(rule: str, message: str):
    with pytest.raises(InputError, match=message):
        norms.parse(rule, RESNET50)


@pytest.mark.parametrize("model", ["vgg16", "resnetv2_50x1_bit"])
def test_a_network_without_statistics_has_no_choice(model: str):
    with pytest.raises(InputError, match=f"{model} has no batch normalisation"):
        norms.parse("stored", MODELS[model])


@pytest.mark.parametrize(
    ("model", "stage"),
    [
        ("vgg16", "stage1"),
        ("resnetv2_50x1_bit", "stage4"),
        ("keras_resnet50v2", "stem"),
    ],
)
def test_a_decoder_normalises_where_the_stages_before_it_may_not(
    model: str, stage: str
):
    spec = MODELS[model].adapted(decoder="unet")
    assert norms.parse("head=stored", spec) == {"head": "stored"}
    with pytest.raises(InputError, match=f"no batch normalisation in stage '{stage}'"):
        norms.parse(f"{stage}=stored", spec)


def test_layers_with_statistics_are_found_by_their_means():
    stats = {"stem": {"norm": {"mean": 0, "var": 1}}, "stage1": {"norm": {"mean": 0}}}
    assert norms.with_statistics(stats) == ["stem/norm", "stage1/norm"]
