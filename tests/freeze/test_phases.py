import dataclasses

import pytest

from jft.config import OptimConfig, TrainConfig
from jft.errors import InputError
from jft.freeze.phases import Phase, plan_phases
from jft.freeze.rules import FreezeSpec
from jft.models import MODELS

RESNET50 = MODELS["resnet50"]
CONFIG = TrainConfig(freeze="none", epochs=6, optim=OptimConfig(learning_rate=0.05))


def phases(text: str, **changes: object) -> list[Phase]:
    config = dataclasses.replace(CONFIG, phases=text, **changes)
    found = plan_phases(config, RESNET50)
    for phase in found:
        assert phase.spec == FreezeSpec.parse(phase.freeze, RESNET50)
    return [dataclasses.replace(phase, spec=FreezeSpec()) for phase in found]


MAIN = Phase(6, "none", 0.05)


def test_a_run_is_one_phase_by_default():
    assert phases("") == [MAIN]


def test_phases_come_before_the_epochs_of_the_run():
    assert phases("2*all-but:head@0.1; 3*until:stage3") == [
        Phase(2, "all-but:head", 0.1),
        Phase(3, "until:stage3", 0.05),
        MAIN,
    ]


def test_a_phase_may_have_a_rule_of_several_patterns():
    [first, _] = phases("1*stem/*,stage1/*=0.1@1e-3")
    assert first == Phase(1, "stem/*,stage1/*=0.1", 1e-3)


def test_several_rates_of_the_first_phase_are_candidates():
    assert phases("2*all-but:head@0.01|0.1; 1*until:stage3@0.02") == [
        Phase(2, "all-but:head", 0.01, candidate=True),
        Phase(2, "all-but:head", 0.1, candidate=True),
        Phase(1, "until:stage3", 0.02),
        MAIN,
    ]


@pytest.mark.parametrize(
    ("freeze", "stages"),
    [
        ("none", ["stage4", "stage3", "stage2", "stage1", "stem"]),
        ("until:stage2", ["stage4", "stage3"]),
        ("until:stem", ["stage4", "stage3", "stage2", "stage1"]),
    ],
)
def test_unfreezing_is_gradual_from_the_head_down(freeze: str, stages: list[str]):
    *before, main = phases("gradual:2", freeze=freeze)
    assert before == [Phase(2, f"until:{stage}", 0.05) for stage in stages]
    assert main == Phase(6, freeze, 0.05)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2", "'2' is not a phase\nphases: EPOCHS"),
        ("2*", "is not a phase"),
        ("all-but:head@0.1", "is not a phase"),
        ("0*none", "must start with a number of epochs, got '0'"),
        ("x*none", "must start with a number of epochs, got 'x'"),
        ("gradual:x", "must start with a number of epochs, got 'x'"),
        ("1*none@0", "must be above 0 and finite, got '0'"),
        ("1*none@fast", "must be above 0 and finite, got 'fast'"),
        ("1*none@0.1|", "must be above 0 and finite, got ''"),
        ("1*none;", "'' is not a phase"),
        (
            "1*none;1*none@1|2",
            "several learning rates, which only the first phase may have",
        ),
        ("1*until:stage5", "resnet50 has no stage 'stage5'; did you mean 'stage"),
    ],
)
def test_phases_that_mean_nothing_are_an_error(text: str, message: str):
    with pytest.raises(InputError) as caught:
        phases(text)
    assert message in str(caught.value)


def test_gradual_unfreezing_needs_a_stage_to_end_at():
    with pytest.raises(InputError, match="ends with freeze none or until:STAGE, not"):
        phases("gradual:1", freeze="first:3")


def test_warm_up_must_fit_into_every_phase():
    optim = OptimConfig(warmup_epochs=2.0)
    with pytest.raises(
        InputError, match=r"'2\*all-but:head' must be longer than optim"
    ):
        phases("2*all-but:head", optim=optim)
    assert len(phases("3*all-but:head", optim=optim)) == 2


def test_gradual_unfreezing_needs_a_stage_to_unfreeze():
    with pytest.raises(InputError, match="'until:stage4' leaves no stage to unfreeze"):
        phases("gradual:1", freeze="until:stage4")
