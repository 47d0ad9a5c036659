"""Where a network is cut, and every reason for which features are not kept."""

import dataclasses
from typing import Any

import pytest

from jft.config import AugmentConfig, TrainConfig
from jft.errors import InputError
from jft.features import decide, store
from jft.features.cut import Cut, check, check_cuts, cut_of, why_not
from jft.features.decide import Wish, choose
from jft.models.training import TrainMode

STAGES = ("stem", "stage1", "stage2", "head")
HEAD = "params/head/kernel"
PLAIN = AugmentConfig(crop_padding=0)


def config(**changes: Any) -> TrainConfig:
    return dataclasses.replace(TrainConfig(augment=PLAIN), **changes)


@pytest.mark.parametrize(
    ("changing", "start"),
    [
        ([HEAD], "head"),
        (["params/stage2/block0/conv1/kernel", HEAD], "stage2"),
        ([HEAD, "batch_stats/stage1/block0/norm1/mean"], "stage1"),
        (["params/stem/norm/bias", HEAD], None),
    ],
)
def test_the_cut_is_before_all_that_changes(changing: list[str], start: str | None):
    cut = cut_of(STAGES, changing, TrainMode())
    assert (cut and cut.start) == start


def test_dropout_in_hidden_layers_comes_after_the_cut():
    stages = ("stage1", "pre_logits", "head")
    plain, dropped = (cut_of(stages, [HEAD], TrainMode(dropout=p)) for p in (0.0, 0.5))
    assert plain
    assert dropped
    assert (plain.start, plain.after, plain.frozen) == (
        "head",
        "pre_logits",
        ("stage1", "pre_logits"),
    )
    assert (dropped.start, dropped.after) == ("pre_logits", "stage1")
    assert not dropped.has_convolutions
    assert Cut(STAGES, 2).has_convolutions


def test_images_that_change_each_epoch_are_a_reason():
    assert why_not(config(), "classification") is None
    flipped = config(augment=dataclasses.replace(PLAIN, flip=True, policy="rand"))
    reason = why_not(flipped, "classification") or ""
    assert "--augment.flip, --augment.policy" in reason
    assert "--views 4" in reason
    assert why_not(dataclasses.replace(flipped, views=2), "classification") is None
    mixed = config(views=2, augment=AugmentConfig(mixup=0.2))
    assert "mixup mixes" in (why_not(mixed, "classification") or "")
    assert "decoder" in (why_not(config(), "segmentation") or "")


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(AugmentConfig)])
def test_every_augmentation_counts(name: str):
    changed: dict[str, Any] = {"policy": "rand", "flip": True, "vertical_flip": True}
    settings: dict[str, Any] = {name: changed.get(name, 1)}
    augment = dataclasses.replace(PLAIN, **settings)
    reason = why_not(config(augment=augment), "classification")
    # These two are settings of the policy.
    assert (reason is None) == name.startswith("rand_")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"views": 3}, "nothing changes the images"),
        ({"views": 3, "features": "off"}, "must not be off"),
        ({"features": "disk", "augment": AugmentConfig()}, "disk: --augment.crop-p"),
        ({"features": "memory", "augment": AugmentConfig(cutmix=1.0)}, "cutmix mixes"),
        ({"views": 2, "augment": AugmentConfig(mixup=1.0)}, "views: mixup mixes"),
    ],
)
def test_features_that_cannot_be_kept_are_refused(changes: Any, match: str):
    with pytest.raises(InputError, match=match):
        check(config(**changes), "classification")


def test_a_network_without_a_frozen_part_is_refused():
    check_cuts("auto", 0, [None])
    check_cuts("disk", 0, [None, Cut(STAGES, 1)])
    for setting, views in (("disk", 0), ("auto", 2)):
        with pytest.raises(InputError, match="all-but:head"):
            check_cuts(setting, views, [None, None])


def chosen(
    wish: Wish, flops: int = 10**9, reason: str | None = None, platform: str = "cpu"
) -> decide.Choice:
    def measure(cut: Cut) -> tuple[tuple[int, ...], int]:
        return (512,), flops

    return choose(wish, reason, Cut(STAGES, 3), measure, platform)


def test_auto_weighs_bytes_against_flops(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store, "space", lambda: 10**9)
    monkeypatch.setattr(decide, "memory", lambda: 10**9)
    wish = Wish("auto", forced=False, rows=1000, uses=5)
    assert chosen(wish).where == "disk"
    assert chosen(wish).bytes == 4 * 512 * 1000
    # 50 FLOPs per byte: a disk is too slow, memory is not.
    assert chosen(wish, flops=50 * 2048).where == "memory"
    few = chosen(wish, flops=2048)
    assert (few.where, few.cut) == ("off", None)
    assert "as long to read" in few.reason
    assert chosen(wish, flops=200 * 2048, platform="gpu").where == "off"
    assert chosen(dataclasses.replace(wish, uses=1)).reason == "each image is used once"
    large = dataclasses.replace(wish, rows=10**6)
    assert "fit neither" in chosen(large).reason
    # Numbers depend on views, so they do not depend on the machine.
    assert chosen(dataclasses.replace(large, forced=True)).where == "memory"
    monkeypatch.setattr(store, "space", lambda: 0)
    assert chosen(wish).where == "memory"


def test_what_is_asked_for_is_done():
    for where in ("memory", "disk"):
        wish = Wish(where, forced=False, rows=10**9, uses=1)
        assert chosen(wish, flops=1).where == where
        assert chosen(wish, reason="because").reason == "because"
    wish = Wish("off", forced=False, rows=1, uses=9)
    assert chosen(wish).reason == "--features off"
    none = choose(wish, None, None, lambda cut: ((1,), 1), "cpu")
    assert none.cut is None
