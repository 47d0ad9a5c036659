import dataclasses
import json
from typing import Any

import pytest

from jft import config as configs
from jft.config import (
    AugmentConfig,
    ModelConfig,
    OptimConfig,
    TaskConfig,
    TrainConfig,
)
from jft.config.check import RANGES
from jft.errors import InputError

DEFAULT = TrainConfig()
NAMES = sorted(configs.flat(DEFAULT))
UNUSUAL = TrainConfig(
    data="folder:/data/flowers, 17",
    weights="a.pth",
    model=ModelConfig(name="resnet50", width=24),
    freeze="stem/*,*/bias",
    epochs=3,
    image_size=96,
    label_smoothing=0.1,
    augment=AugmentConfig(flip=True, crop_padding=4),
    optim=OptimConfig(
        name="adamw",
        learning_rate=0.1 + 0.2,
        schedule="constant",
        warmup_epochs=0.5,
        weight_decay=1e-4,
        decay_rules="*/bias=0.5,*=1",
        clip_norm=1.0,
    ),
    seed=2**32 - 1,
    devices="pmap",
    workdir="runs/ü",
    workers=2,
    checkpoint_every=10,
    skip_nonfinite=2,
)


def with_value(name: str, value: Any, config: TrainConfig = DEFAULT) -> TrainConfig:
    """Return the configuration with the setting of that dotted name replaced."""
    first, _, rest = name.partition(".")
    if rest:
        value = dataclasses.replace(getattr(config, first), **{rest: value})
    return dataclasses.replace(config, **{first: value})


def another(value: Any) -> Any:
    """Return a different value of the same kind."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            return value + 0.5
        case str():
            return value + "x"
        case _:
            return 7


@pytest.mark.parametrize("config", [DEFAULT, UNUSUAL], ids=["default", "unusual"])
def test_a_configuration_survives_json(config: TrainConfig):
    text = json.dumps(configs.to_dict(config))
    back = configs.from_dict(json.loads(text))
    assert back == config
    # Equal is not enough: 1 == 1.0 == True. Their text differs.
    assert json.dumps(configs.to_dict(back)) == text
    assert configs.fingerprint(back) == configs.fingerprint(config)


def test_settings_left_out_take_their_defaults():
    back = configs.from_dict({"epochs": 9, "optim": {"momentum": 0.5}})
    assert back == TrainConfig(epochs=9, optim=OptimConfig(momentum=0.5))


def test_unknown_fields_are_one_sorted_message_with_near_names():
    with pytest.raises(InputError) as caught:
        configs.from_dict({"zzz": 1, "epoch": 2, "seed": 3})
    assert str(caught.value) == (
        "epoch is not a setting; did you mean 'epochs'?\nzzz is not a setting"
    )


def test_an_unknown_nested_field_is_named_with_its_group():
    with pytest.raises(InputError) as caught:
        configs.from_dict({"optim": {"weight_decy": 1.0}})
    assert str(caught.value) == (
        "optim.weight_decy is not a setting; did you mean 'weight_decay'?"
    )


def test_unknown_fields_of_all_groups_are_one_message():
    with pytest.raises(InputError, match=r"epoch is not .*\noptim\.lr is not"):
        configs.from_dict({"epoch": 1, "optim": {"lr": 1.0}})


@pytest.mark.parametrize("value", ["resnet18", None])
def test_a_plain_value_for_a_group_is_an_error_that_names_the_group(value: Any):
    with pytest.raises(InputError, match=r"\bmodel\b(?!\.)"):
        configs.from_dict({"model": value})


def test_flat_names_are_the_dotted_paths_of_all_settings():
    values = configs.flat(UNUSUAL)
    assert values["model.width"] == 24
    assert values["augment.crop_padding"] == 4
    assert values["optim.learning_rate"] == 0.1 + 0.2
    assert values["epochs"] == 3
    groups = {
        "task": TaskConfig,
        "model": ModelConfig,
        "augment": AugmentConfig,
        "optim": OptimConfig,
    }
    single = {f.name for f in dataclasses.fields(TrainConfig)} - set(groups)
    dotted = {f"{g}.{f.name}" for g in groups for f in dataclasses.fields(groups[g])}
    assert set(values) == single | dotted


def test_only_where_and_how_fast_a_run_happens_is_logistics():
    expected = {"workdir", "workers", "cache", "checkpoint_every", "features"}
    assert set(configs.LOGISTICS) == expected


@pytest.mark.parametrize("name", NAMES)
def test_the_fingerprint_ignores_logistics_and_nothing_else(name: str):
    changed = with_value(name, another(configs.flat(DEFAULT)[name]))
    assert changed != DEFAULT
    same = configs.fingerprint(changed) == configs.fingerprint(DEFAULT)
    assert same == (name in configs.LOGISTICS)


@pytest.mark.parametrize("name", NAMES)
def test_the_difference_is_the_one_rule_that_changed(name: str):
    before = configs.flat(DEFAULT)[name]
    after = another(before)
    new = with_value(name, after)
    after = configs.flat(new)[name]
    lines = configs.difference(DEFAULT, new)
    expected = [] if name in configs.LOGISTICS else [f"{name}: {before} -> {after}"]
    assert lines == expected


def test_the_difference_has_a_line_for_each_changed_rule():
    new = with_value("optim.momentum", 0.5, with_value("model.width", 8))
    assert sorted(configs.difference(DEFAULT, new)) == [
        "model.width: None -> 8",
        "optim.momentum: 0.9 -> 0.5",
    ]


def test_no_two_settings_share_a_fingerprint():
    prints = {
        configs.fingerprint(with_value(n, another(configs.flat(DEFAULT)[n])))
        for n in NAMES
        if n not in configs.LOGISTICS
    }
    assert len(prints) == len(NAMES) - len(configs.LOGISTICS)


def test_equal_configurations_have_equal_fingerprints():
    whole = with_value("optim.weight_decay", 0)
    assert whole == DEFAULT
    assert configs.difference(DEFAULT, whole) == []
    assert configs.fingerprint(whole) == configs.fingerprint(DEFAULT)


NAN = float("nan")
BAD = [
    ("epochs", 0, "at least 1"),
    ("batch_size", 0, "at least 1"),
    ("image_size", -1, "at least 1 pixel"),
    ("label_smoothing", 1.0, "in [0, 1)"),
    ("seed", 2**32, "in [0, 2**32)"),
    ("workers", -1, "at least 0"),
    ("checkpoint_every", -1, "at least 0"),
    ("skip_nonfinite", -1, "at least 0"),
    ("model.width", -1, "at least 1"),
    ("model.channels", 0, "from 1 to 256"),
    ("augment.crop_padding", -1, "at least 0"),
    ("optim.learning_rate", 0.0, "above 0 and finite"),
    ("optim.warmup_epochs", 6.0, "at least 0 and less than epochs"),
    ("optim.momentum", 1.0, "in [0, 1)"),
    ("optim.weight_decay", -0.1, "at least 0 and finite"),
    ("optim.clip_norm", 0.0, "above 0"),
    ("dropout", 1.0, "in [0, 1)"),
    ("drop_path", -0.1, "in [0, 1)"),
    ("augment.rand_operations", 0, "at least 1"),
    ("augment.rand_magnitude", 31, "in [0, 30]"),
    ("augment.erase", 1.5, "in [0, 1]"),
    ("augment.mixup", -1.0, "at least 0 and finite"),
    ("augment.cutmix", -1.0, "at least 0 and finite"),
    ("optim.drop_factor", 1.0, "in (0, 1)"),
    ("optim.drop_epochs", 0, "at least 1"),
    ("optim.layer_decay", 0.0, "in (0, 1]"),
    ("optim.l2_sp", -1.0, "at least 0 and finite"),
    ("optim.sam", -0.1, "at least 0 and finite"),
    ("optim.ema", 1.0, "in [0, 1)"),
    ("task.focal_gamma", -0.5, "at least 0 and finite"),
]
WORSE = [
    ("label_smoothing", -0.1, "in [0, 1)"),
    ("label_smoothing", NAN, "in [0, 1)"),
    ("seed", -1, "in [0, 2**32)"),
    ("optim.learning_rate", NAN, "above 0 and finite"),
    ("optim.warmup_epochs", -0.5, "at least 0 and less than epochs"),
    ("optim.momentum", -0.1, "in [0, 1)"),
    ("optim.weight_decay", NAN, "at least 0 and finite"),
    ("optim.clip_norm", -1.0, "above 0"),
]


@pytest.mark.parametrize(("name", "value", "valid"), BAD[1:] + WORSE)
def test_a_setting_out_of_its_range_is_an_error(name: str, value: Any, valid: str):
    with pytest.raises(InputError) as caught:
        configs.check(with_value(name, value))
    assert str(caught.value) == f"{name} must be {valid}, got {value}"


def test_no_epochs_is_one_problem():
    with pytest.raises(InputError, match=r"^epochs must be at least 1, got 0$"):
        configs.check(with_value("epochs", 0))


@pytest.mark.parametrize("name", ["image_size", "model.width"])
def test_zero_is_no_size(name: str):
    with pytest.raises(InputError, match=f"{name} must be at least 1"):
        configs.check(with_value(name, 0))


@pytest.mark.parametrize("name", ["optim.name", "optim.schedule", "devices"])
def test_a_choice_that_is_none_of_the_valid_ones_is_an_error(name: str):
    with pytest.raises(InputError, match=name):
        configs.check(with_value(name, "linaer"))


@pytest.mark.parametrize(
    ("size", "devices", "name", "value", "message"),
    [
        (
            32,
            1,
            "optim.accumulate",
            5,
            "of 5 for optim.accumulate, got 32: use 30 or 35",
        ),
        (
            31,
            1,
            "augment.mixup",
            0.5,
            r"of 2 for mixup and cutmix \(pairs of images\), got",
        ),
        (31, 1, "augment.cutmix", 0.5, "got 31: use 30 or 32"),
        (
            60,
            8,
            "seed",
            0,
            "of 8 on 8 devices, got 60: use 56 or 64, or --devices jit",
        ),
        (3, 8, "seed", 0, "got 3: use 8, or --devices jit"),
        (8, 8, "optim.accumulate", 2, "of 16 on 8 devices for optim.accumulate, got 8"),
    ],
)
def test_a_batch_divides_evenly(
    size: int, devices: int, name: str, value: float, message: str
):
    parts = configs.batch_parts(with_value(name, value))
    with pytest.raises(InputError, match=message):
        configs.check_batch(size, devices, parts)
    configs.check_batch(16 * 5, devices, parts)


def test_all_settings_out_of_range_are_one_message():
    config = DEFAULT
    for name, value, _ in BAD:
        config = with_value(name, value, config)
    with pytest.raises(InputError) as caught:
        configs.check(config)
    expected = [f"{name} must be {valid}, got {value}" for name, value, valid in BAD]
    assert sorted(str(caught.value).split("\n")) == sorted(expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 1),
        ("batch_size", 1),
        ("image_size", 1),
        ("label_smoothing", 0.999),
        ("label_smoothing", None),
        ("task.focal_gamma", 0.0),
        ("seed", 2**32 - 1),
        ("model.width", 1),
        ("optim.warmup_epochs", 4.999),
        ("optim.momentum", 0.0),
        ("optim.clip_norm", 1e-9),
    ],
)
def test_the_ends_of_a_range_are_valid(name: str, value: Any):
    configs.check(with_value(name, value))


def test_the_default_and_an_unusual_configuration_are_valid():
    configs.check(DEFAULT)
    configs.check(UNUSUAL)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": "5"}, "epochs must be int, got '5'"),
        ({"epochs": 2.5}, "epochs must be int, got 2.5"),
        ({"seed": True}, "seed must be int, got True"),
        ({"freeze": None}, "freeze must be str, got None"),
        ({"image_size": 64.5}, "image_size must be int or None, got 64.5"),
        ({"optim": {}}, "optim must be OptimConfig, got {}"),
    ],
)
def test_a_value_of_another_type_is_an_error(values: dict[str, Any], message: str):
    with pytest.raises(InputError) as caught:
        configs.check(TrainConfig(**values))
    assert str(caught.value) == message


def test_every_number_has_a_range():
    config = TrainConfig(
        image_size=32,
        label_smoothing=0.1,
        model=ModelConfig(width=8, channels=3),
        optim=OptimConfig(clip_norm=1.0),
    )
    numbers = {
        k for k, value in configs.flat(config).items() if type(value) in (int, float)
    }
    ranged = [name for _, _, names in RANGES for name in names.split()]
    assert sorted(ranged) == sorted(numbers - {"optim.warmup_epochs"})
