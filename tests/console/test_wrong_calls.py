"""Wrong calls: each gets one clear message and the right exit status."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

import jft
from jft.__main__ import COMMANDS, main
from jft.config import ModelConfig, TrainConfig

ROOT = Path(__file__).parents[2]


class Usage(NamedTuple):
    """What `shutil.disk_usage` returns, in bytes."""

    total: int
    used: int
    free: int


# A command line, and what its answer contains. JAX is imported for none of them.
OPTIONS: list[tuple[str, str]] = [
    ("trian", "unknown command 'trian'; did you mean 'train'?"),
    ("fine-tune", "unknown command 'fine-tune'; jft --help lists the commands"),
    ("train folder:photos", "unexpected argument: folder:photos"),
    ("train --freez none", "did you mean '--freeze'"),
    ("train --optim.lerning-rate 1", "did you mean '--optim.learning-rate'"),
    ("train --learning_rate 1", "did you mean --optim.learning-rate"),
    ("train --learning-rate 1", "did you mean --optim.learning-rate"),
    ("train -lr 1", "did you mean --lr"),
    ("train --lr fast", "--optim.learning-rate must be a number, got 'fast'"),
    ("train --wd", "--optim.weight-decay needs a value"),
    ("train --bogus", "unknown option --bogus; --help lists the options"),
    ("train --pretrained", "did you mean --weights? (weights are pretrained"),
    ("train --num-epochs 3", "did you mean --epochs"),
    ("train --num_train_epochs 3", "did you mean --epochs"),
    ("train --data-path x", "did you mean --data?"),
    ("train --data-dir x", "did you mean --data?"),
    ("train --dataset x", "did you mean --data?"),
    ("train --arch resnet50", "did you mean --model.name"),
    ("train --model resnet50", "did you mean --model.name"),
    ("train --lr-scheduler cosine", "did you mean --optim.schedule"),
    ("train --sched cosine", "did you mean --optim.schedule"),
    ("train --weight-decay 1", "did you mean --optim.weight-decay"),
    ("train --momentum 0.9", "did you mean --optim.momentum"),
    ("train --opt sgd", "did you mean --optim.name"),
    ("train --optimizer=sgd", "did you mean --optim.name"),
    ("train --img-size 224", "did you mean --image-size"),
    ("train --imgsz 224", "did you mean --image-size"),
    ("train --mixup 0.2", "did you mean --augment.mixup"),
    ("train --hflip 0.5", "did you mean --augment.flip"),
    ("train --color-jitter 0.4", "did you mean --augment.jitter"),
    ("train --reprob 0.2", "did you mean --augment.erase"),
    ("train --aa rand", "did you mean --augment.policy"),
    ("train --smoothing 0.1", "did you mean --label-smoothing"),
    ("train --resume", "did you mean --workdir? (run the same command again"),
    ("train -b 8", "did you mean --batch-size"),
    ("train -j 8", "did you mean --workers"),
    ("train --num_workers 8", "did you mean --workers"),
    ("train --per_device_train_batch_size 8", "did you mean --batch-size"),
    ("train --gradient_accumulation_steps 2", "did you mean --optim.accumulate"),
    ("train --max-grad-norm 1", "did you mean --optim.clip-norm"),
    ("train --model-ema", "did you mean --optim.ema"),
    ("train --amp", "did you mean --dtype"),
    ("train --fp16", "did you mean --dtype"),
    ("train --gpus 2", "did you mean --devices"),
    ("train --grad-checkpointing", "did you mean --remat"),
    ("train --stochastic-depth 0.1", "did you mean --drop-path"),
    ("train --warmup-steps 5", "did you mean --optim.warmup-epochs"),
    ("train --num-classes 5", "did you mean --data? (the classes come from the data)"),
    ("train --optim.name sgdd", "must be sgd, adamw, lion"),
    ("train --optim.name adam", "got 'adam'; did you mean 'adamw'?"),
    ("train --optim.name adamW", "got 'adamW'; did you mean 'adamw'?"),
    ("train --optim.name SGD", "got 'SGD'; did you mean 'sgd'?"),
    ("train --optim.schedule cosin", "got 'cosin'; did you mean 'cosine'?"),
    ("train --optim.schedule onecycle", "did you mean 'one-cycle'?"),
    ("train --dtype bf16", "must be float32 or bfloat16, got 'bf16'"),
    ("train --dtype float16", "got 'float16'; did you mean"),
    ("train --model.decoder unett", "did you mean 'unet'?"),
    ("train --task.loss crossentropy", "did you mean 'cross-entropy'?"),
    ("train --task.class-weights balance", "did you mean 'balanced'?"),
    ("train --augment.policy trivialaugment", "did you mean 'trivial'?"),
    ("train --devices gpu", "must be auto, jit or pmap, got 'gpu'"),
    ("train --epochs many", "--epochs must be a whole number, got 'many'"),
    ("train --epochs 1.5", "--epochs must be a whole number, got '1.5'"),
    ("train --epochs", "--epochs needs a value"),
    ("train --batch_size x", "--batch-size must be a whole number, got 'x'"),
    ("train --image-size 224x224", "--image-size must be a whole number"),
    ("train --augment.flip maybe", "unexpected argument: maybe"),
    ("train --dry-run --lr-find", "--dry-run and --lr-find: give one of them"),
    ("train --model.name resnet5O", "or 'resnet50'"),
    ("train --freeze all", "freeze 'all' is not a rule; did you mean 'all-but:head'?"),
    ("train --freeze until:stagee2", "did you mean 'stage2'"),
    ("train --freeze first:99", "from 1 to 10"),
    ("train --freeze until:head", "leaves nothing to train"),
    ("train --data fodler:x", "did you mean 'folder'"),
    ("train --data csv:x.csv?lable=a", "did you mean 'label'"),
    ("train --data csv:/nowhere.csv", "/nowhere.csv"),
    ("train --data masks:/nowhere", "/nowhere"),
    ("train --data coco:/nowhere.json", "/nowhere.json"),
    ("train --data hf-parquet:/nowhere", "/nowhere"),
    ("train --data webdataset:/nowhere", "/nowhere"),
    ("train --data folder:/nowhere", "cannot list folder '/nowhere'"),
    ("train --weights resnet20-cifar", "did you mean 'resnet20-cifar10'"),
    ("train --weights /no/such.pth", "no weights '/no/such.pth'"),
    ("train --weights none", "give --model.name"),
    ("train --weights torchvison:resnet50", "did you mean 'torchvision'"),
    ("train --weights torchvision:resnet5O", "no weights"),
    (
        "train --weights torchvision:resnet50 --model.name resnet18",
        "has weights of resnet50, not of resnet18",
    ),
    (
        "train --weights torchvision:vgg16 --image-size 16",
        "--image-size must be at least 32 for",
    ),
    ("train --model.pooled-head", "resnet20 has a pooled head already"),
    ("train --epochs 0 --batch-size 0", "batch_size must be at least 1"),
    ("train --lr 0", "learning_rate must be above 0"),
    ("train --lr nan", "learning_rate must be above 0"),
    ("train --lr -0.1", "learning_rate must be above 0"),
    ("train --config configs/no_steel.py", "did you mean 'configs/neu_steel.py'"),
    ("train --config", "--config needs a value"),
    ("train --config README.md", "recipe 'README.md'"),
    ("evaluate", "missing argument: RUN"),
    ("evaluate nowhere", "nowhere is not a run"),
    ("evaluate run --batch 8", "did you mean --batch-size"),
    ("evaluate run --interpolate half", "--interpolate must be a number, got 'half'"),
    ("evaluate run --which besst", "must be final or best, got 'besst'; did you mean"),
    ("verify", "name at least one run"),
    ("verify nowhere", "nowhere is not a run"),
    ("predict", "missing argument: RUN"),
    ("predict nowhere x.png", "nowhere is not a run"),
    ("predict run x.png --tta flop", "did you mean 'flip'?"),
    ("predict run x.png --jsn", "did you mean '--json'?"),
    ("export", "missing argument: RUN"),
    ("export run net.pth extra", "unexpected argument: extra"),
    ("export run --to torchvison", "did you mean 'torchvision'?"),
    ("export run --format timm", "did you mean --to?"),
    ("convert", "give SOURCE, the weights to read, and DESTINATION"),
    ("convert --lst", "did you mean '--list'?"),
    ("convert --list --match nothing", "no published weights have 'nothing'"),
    ("data chekc", "unknown command 'chekc'; did you mean 'check'?"),
    ("data digits", "unknown command 'digits'; valid: check"),
    ("data check", "missing argument: SOURCE"),
    ("data check fodler:x", "did you mean 'folder'"),
    ("data check digits more", "unexpected argument: more"),
]


def call(line: str) -> int | str | None:
    """Return the exit status of a command line, without starting a process."""
    try:
        return main(line.split())
    except SystemExit as stop:
        return stop.code


@pytest.mark.parametrize(("line", "answer"), OPTIONS, ids=[line for line, _ in OPTIONS])
def test_a_wrong_command_line_gets_one_clear_message(
    line: str,
    answer: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(ROOT)
    assert call(line) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("error: ") == 1
    assert shown.err.startswith("error: ")
    assert answer in shown.err


HELP = [f"{name} --help" for name in COMMANDS] + ["train --help-all", "--help", ""]


def test_help_and_mistakes_are_answered_before_jax_is_imported():
    # Reading weights to find their network needs JAX; none of these gets that far.
    lines = [line for line, _ in OPTIONS] + HELP
    code = (
        "import sys\n"
        "sys.path.insert(0, 'tests/console')\n"
        "from test_wrong_calls import call\n"
        f"for line in {lines!r}:\n"
        "    call(line)\n"
        "    assert 'jax' not in sys.modules, line\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("line", HELP)
def test_help_fits_in_80_columns(line: str, capsys: pytest.CaptureFixture[str]):
    assert call(line) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: ")
    assert max(map(len, shown.splitlines())) <= 80
    # A name such as --batch-size is not broken at its hyphen.
    assert not re.search(r"\w-$", shown, re.MULTILINE)


def test_short_help_has_what_most_people_need_and_names_the_rest(
    capsys: pytest.CaptureFixture[str],
):
    call("train --help")
    short = capsys.readouterr().out
    call("train --help-all")
    whole = capsys.readouterr().out
    for option in ("--config", "--dry-run", "--lr-find", "--lr X", "-o TEXT"):
        assert option in short
    assert "--optim.sam" not in short
    assert "--optim.sam" in whole
    assert short.count("\n    python -m jft.train") == 5
    heads = ["data:", "model:", "freezing:", "optimisation:", "augmentation:", "run:"]
    assert [line for line in short.splitlines() if line in heads] == heads
    assert len(short.splitlines()) < len(whole.splitlines()) / 2


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]):
    assert call("--version") == 0
    assert capsys.readouterr().out == f"jft {jft.__version__}\n"


def test_every_command_is_listed():
    modules = {path.parent.name for path in (ROOT / "jft").glob("*/__main__.py")}
    assert set(COMMANDS) == modules | {"convert"}


# Run folders.


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run of a small network on four images."""
    folder = tmp_path_factory.mktemp("wrong")
    for split in ("train", "test"):
        for value, name in enumerate(("dark", "light")):
            (folder / "images" / split / name).mkdir(parents=True)
            for i in range(2):
                pixels = np.full((8, 8, 3), 200 * value + i, np.uint8)
                Image.fromarray(pixels).save(
                    folder / "images" / split / name / f"{i}.png"
                )
    config = TrainConfig(
        data=f"folder:{folder / 'images'}",
        weights="none",
        model=ModelConfig(name="resnet20", width=4),
        freeze="none",
        epochs=1,
        batch_size=4,
        image_size=16,
        devices="jit",
        workdir=str(folder / "run"),
    )
    return jft.fit(config).workdir


FILES = ("config.json", "manifest.json", "result.json", "final/model.json")
CONTENTS = {
    "missing": None,
    "empty": "",
    "cut off": '{"data": {"finger',
    "list": "[1, 2]",
    "null": "null",
    "number": "3",
    "other keys": '{"spam": 1}',
    "binary": b"\xff\xfe\x00\x81",
}
# Which files each command needs; the others it may ignore.
NEEDS = {
    "evaluate RUN --devices jit": {"config.json", "manifest.json", "final/model.json"},
    "export RUN OUT/net.pth": {"config.json", "result.json", "final/model.json"},
    "predict RUN IMAGE": {"final/model.json"},
    "train --config COPY": {"config.json", "result.json"},
}
# What is right to be without.
HARMLESS = {
    ("export RUN OUT/net.pth", "result.json", "missing"),
    ("train --config COPY", "result.json", "missing"),
}
DAMAGES = [
    (line, name, how)
    for line, names in NEEDS.items()
    for name in FILES
    for how in CONTENTS
    if name in names and (line, name, how) not in HARMLESS
]


@pytest.mark.parametrize(("line", "name", "how"), DAMAGES)
def test_a_damaged_file_of_a_run_is_named(
    line: str,
    name: str,
    how: str,
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    copy = shutil.copytree(run, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"workdir": str(copy)}))
    content = CONTENTS[how]
    if content is None:
        (copy / name).unlink()
    elif isinstance(content, bytes):
        (copy / name).write_bytes(content)
    else:
        (copy / name).write_text(content)
    words = {
        "RUN": str(copy),
        "OUT/net.pth": str(tmp_path / "net.pth"),
        "IMAGE": str(run.parent / "images" / "test" / "dark" / "0.png"),
        "COPY": str(tmp_path / "config.json"),
    }
    status = main([words.get(word, word) for word in line.split()])
    shown = capsys.readouterr()
    # To train, a folder without config.json is a folder of something else.
    strange = (line, name, how) == ("train --config COPY", "config.json", "missing")
    assert status == (2 if strange else 77)
    assert shown.err.startswith("error: ")
    assert shown.err.count("error: ") == 1
    assert len(shown.err) < 600 + 2 * len(str(tmp_path))
    names = (Path(name).name, "final", "is not empty and holds no run")
    assert any(word in shown.err for word in names)


def test_a_full_disk_is_one_line(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr("jft.runs.arrays.disk_usage", lambda path: Usage(10, 9, 1))
    config = str(run / "config.json")
    assert main(["train", "--config", config, "-o", str(tmp_path / "new")]) == 74
    error = capsys.readouterr().err
    assert error.startswith("error: the disk of ")
    assert "1 B are free. Make room; the same command then resumes" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("which", ["final", "best"])
@pytest.mark.parametrize("how", ["missing", "empty", "file"])
def test_damaged_parameters_are_named(
    which: str, how: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    copy = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(copy / which / "variables")
    if how == "empty":
        (copy / which / "variables").mkdir()
    elif how == "file":
        (copy / which / "variables").write_text("parameters")
    image = run.parent / "images" / "test" / "dark" / "0.png"
    assert main(["predict", str(copy), str(image), "--which", which]) == 77
    error = capsys.readouterr().err
    assert error.startswith(f"error: {copy / which} is damaged: ")
    assert error.count("\n") == 1
