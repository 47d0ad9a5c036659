"""The benchmark of steps: what it counts, how it times, what it prints and compares."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jft.bench import __main__ as bench
from jft.bench import case as cases
from jft.bench import rows, timing
from jft.bench.case import Case, build_case
from jft.bench.compare import compare
from jft.errors import InputError
from jft.models import ModelSpec

FAST = rows.Rules(steps=2, warm_up=0)


def test_functions_are_called_in_turn_after_a_warm_up():
    calls: list[str] = []
    found = timing.time_in_turn(
        [lambda: calls.append("a"), lambda: calls.append("b")], rounds=3, warm_up=2
    )
    assert calls == ["a", "b"] * 5
    assert [len(times) for times in found] == [3, 3]
    assert min(map(min, found)) > 0


def test_it_measures_for_as_long_as_is_asked():
    [times] = timing.time_in_turn([lambda: None], rounds=1, warm_up=0, seconds=0.02)
    assert len(times) > 1


def test_the_summary_is_numpys():
    seconds = [0.5, 0.25, 0.5, 0.2, 1.0]
    found = timing.summary(seconds, 10)
    rates = np.array([20.0, 40, 20, 50, 10])
    assert found["images_per_second"] == 20
    assert found["p5"] == pytest.approx(np.percentile(rates, 5))
    assert found["p95"] == pytest.approx(np.percentile(rates, 95))
    error = np.sqrt(((rates - rates.mean()) ** 2).sum() / 4) / np.sqrt(5)
    assert found["standard_error"] == pytest.approx(error)
    assert found["a_a"] == pytest.approx(20 / 45)  # 20, 20, 10 and 40, 50
    assert found["steps"] == 5


def test_peaks_are_positive_and_rated_ones_are_of_the_device():
    assert timing.measured_flops("float32", 64) > 0
    assert timing.measured_bandwidth(1) > 0
    assert timing.rated_flops("NVIDIA H200", "bfloat16") == 989e12
    assert timing.rated_flops("TPU v5 lite", "bfloat16") == 197e12
    assert timing.rated_flops("NVIDIA H200", "float32") is None
    assert timing.rated_flops("cpu", "bfloat16") is None


def test_combinations_are_in_order():
    found = rows.cases(["a"], [1, 2], ["none", "first:1"], ["float32"], ["jit"], 32)
    assert [(c.freeze, c.batch_size) for c in found] == [
        *(("none", 1), ("none", 2), ("first:1", 1), ("first:1", 2))
    ]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_row_has_what_was_measured(tiny: ModelSpec, dtype: Any):
    case = Case("tiny", 4, "none", dtype, "jit")
    [row] = rows.measure([case], FAST)
    assert json.loads(json.dumps(row)) == row
    assert row["image_size"] == 32
    assert row["steps"] == 2
    assert row["images_per_second"] > 0
    assert row["mfu"] == pytest.approx(
        row["flops"] / row["seconds_per_step"] / row["peak_flops"]
    )
    assert row["mfu_rated"] is None
    assert row["forward"] > 0
    parts = row["forward"] + row["backward"] + row["rest"]
    assert parts == pytest.approx(row["seconds_per_step"])


def test_a_head_alone_costs_little_more_than_the_forward_pass(tiny: ModelSpec):
    flops = {
        freeze: build_case(Case("tiny", 4, freeze, devices="jit")).flops
        for freeze in ("none", "all-but:head")
    }
    # Multiply-adds of one image: width 4, 32 x 32 pixels, two basic blocks. The taps of
    # a 3 x 3 kernel on the padding do not count: 3 n - 2 along n pixels, and 3 n - 1
    # where the stride is 2.
    stem, first = 94**2 * 3 * 4, 2 * 94**2 * 4 * 4
    second = 47**2 * 4 * 8 + 46**2 * 8 * 8
    head = 8 * 10
    forward = 2 * 4 * (stem + first + second + head)
    # The gradient of the head's kernel alone.
    assert flops["all-but:head"] == forward + 2 * 4 * head
    assert flops["none"] == pytest.approx(
        3 * forward - 2 * 4 * stem, rel=0.02
    )  # no gradient of the image


def test_all_devices_share_a_batch(tiny: ModelSpec):
    [row] = rows.measure([Case("tiny", 8, devices="pmap")], FAST)
    assert row["device"].startswith("8 x cpu (pmap)")
    assert "forward" not in row


def test_a_batch_that_does_not_fit_is_a_row_and_half_of_it_comes_next(
    monkeypatch: pytest.MonkeyPatch, tiny: ModelSpec
):
    def build(case: Case) -> cases.Prepared:
        if case.batch_size > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 5 GB\nallocator")
        return build_case(case)

    monkeypatch.setattr(rows, "build_case", build)
    found = list(rows.measure([Case("tiny", 8, devices="jit")], FAST))
    assert [row["batch_size"] for row in found] == [8, 4, 2]
    assert found[0]["error"] == "out of memory: RESOURCE_EXHAUSTED: 5 GB"
    assert "error" not in found[2]

    def fail(case: Case) -> cases.Prepared:
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(rows, "build_case", fail)
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        list(rows.measure([Case("tiny", 8)], FAST))


def test_wrong_numbers_are_not_timed(tiny: ModelSpec, monkeypatch: pytest.MonkeyPatch):
    right = cases._parts

    def wrong(*args: Any) -> Any:
        forward, both = right(*args)
        return (lambda: forward() + 0.01), both

    monkeypatch.setattr(cases, "_parts", wrong)
    with pytest.raises(InputError, match="compiled in another way"):
        build_case(Case("tiny", 4, devices="jit"))


def test_the_command_prints_a_table_and_writes_lines(
    tiny: ModelSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "rows.jsonl"
    args = ["--models", "tiny", "--batch-size", "4", "--devices", "jit"]
    args += ["--steps", "2", "--warm-up", "0", "--output", str(path)]
    assert bench.main(args) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split()[:5] == ["model", "freeze", "dtype", "batch", "images/s"]
    assert [line.split()[1] for line in shown[1:3]] == ["none", "all-but:head"]
    assert "MFU is relative to a matrix product in this run" in shown[-1]
    first, *lines = map(json.loads, path.read_text().splitlines())
    assert first["manifest"]["versions"]["jax"] == jax.__version__
    assert first["manifest"]["device_count"] == 8
    assert [line["freeze"] for line in lines] == ["none", "all-but:head"]
    assert bench.main(["compare", str(path), str(path)]) == 0
    assert capsys.readouterr().out.count("1.000") == 2


def write(path: Path, rate: float, a_a: float, **manifest: Any) -> str:
    row = dict.fromkeys(("batch_size", "freeze", "dtype", "devices", "image_size"), 1)
    row |= {"model": "tiny", "images_per_second": rate, "a_a": a_a}
    failed = {**row, "batch_size": 2, "error": "out of memory"}
    lines = [{"manifest": manifest}, row, failed]
    path.write_text("\n".join(map(json.dumps, lines)))
    return str(path)


def test_two_files_are_compared_row_by_row(tmp_path: Path):
    a = write(tmp_path / "a", 100.0, 1.01, cpu_count=2)
    b = write(tmp_path / "b", 150.0, 0.97, cpu_count=4)
    [row], changes = compare(a, b)
    assert row["ratio"] == 1.5
    assert row["noise"] == pytest.approx(0.03)
    assert changes == ["cpu_count: 2 -> 4"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file"),
        ("", "is not a file of jft.bench --output"),
        ("[1]", "is not a file of jft.bench --output"),
        ('{"manifest": {}}', "no measured case in common"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str | None, message: str):
    path = tmp_path / "file"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message):
        compare(str(path), str(path))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--models", "resnet81"], "resnet"),
        (["--models"], "nothing to measure"),
        (["--batch-size", "0"], "must be at least 1, got 0"),
        (["--freeze", "all-but:hed"], "head"),
    ],
)
def test_mistakes_are_one_line(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    assert bench.main([*args, "--devices", "jit"]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert message in shown.err
