import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hosts
import pytest
from hosts import COMMIT, Host

from jft.errors import InputError
from jft.models import MODELS
from jft.preprocess import CAFFE, INCEPTION, Preprocess
from jft.weights import find as find_module
from jft.weights import published, transfer
from jft.weights.description import Description
from jft.weights.download import Link
from jft.weights.fetch import fetch
from jft.weights.find import Found, find_weights
from jft.weights.published import Published, read_table
from jft.weights.repository import WEIGHT_FILES, Repository

DATA = b"weights" * 10_000
SHA256 = hashlib.sha256(DATA).hexdigest()
MD5 = hashlib.md5(DATA).hexdigest()
PTH = f"resnet50-{SHA256[:8]}.pth"
TORCH = "torchvision:resnet50/IMAGENET1K_V"
TABLE = f"""\
name,model,file,digest,licence,top1,labels,size,interpolation,crop_fraction,pixels
{TORCH}1,resnet50,https://torch.example.org/m/old-0676ba61.pth,sha256:0676ba61,BSD,76.13,\
imagenet-1k,224,bilinear,0.875,imagenet
{TORCH}2,resnet50,https://torch.example.org/m/{PTH},sha256:{SHA256[:8]},BSD,80.858,\
imagenet-1k,224,bilinear,0.965517,imagenet
timm:resnet50.a1_in1k,resnet50,hf:timm/resnet50.a1_in1k,,apache-2.0,80.1,\
imagenet-1k,224,bicubic,0.95,imagenet
timm:resnet50.tv_in1k,resnet50,hf:timm/resnet50.tv_in1k@v1,,bsd,76.1,\
imagenet-1k,224,bilinear,0.875,imagenet
keras:vgg16,vgg16,https://keras.example.org/vgg16.h5,md5:{MD5},CC-BY-4.0,71.3,\
imagenet-1k,224,bilinear,0.875,caffe
bit:M-R50x1,resnetv2_50x1_bit,https://bit.example.org/BiT-M-R50x1.npz,,Apache-2.0,,\
imagenet-21k,224,bilinear,0.875,inception
"""

TIMM: dict[str, Any] = {
    "architecture": "resnet50",
    "num_classes": 3,
    "pretrained_cfg": {
        "tag": "a1_in1k",
        "input_size": [3, 160, 160],
        "interpolation": "bicubic",
        "crop_pct": 0.95,
        "crop_mode": "center",
        "mean": [0.5, 0.4, 0.3],
        "std": [0.25, 0.2, 0.1],
        "license": "apache-2.0",
    },
    "label_names": ["cat", "dog", "eel"],
}
TRANSFORMERS = {
    "model_type": "resnet",
    "architectures": ["ResNetForImageClassification"],
    "depths": [3, 4, 6, 3],
    "layer_type": "bottleneck",
    "hidden_sizes": [256, 512, 1024, 2048],
    "embedding_size": 64,
    "hidden_act": "relu",
    "downsample_in_first_stage": False,
    "id2label": {"1": "dog", "0": "cat"},
}
PROCESSOR = {
    "crop_pct": 0.875,
    "do_normalize": True,
    "do_resize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "resample": 3,
    "size": {"shortest_edge": 224},
}


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Published]:
    """Take a table of few weights for the real one."""
    table = read_table(TABLE)
    monkeypatch.setattr(published, "published", lambda: table)
    monkeypatch.setattr(find_module, "published", lambda: table)
    return table


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Host]:
    """Start a server that is every host, and the hub; both caches are empty."""
    constants = pytest.importorskip("huggingface_hub.constants")
    from huggingface_hub import utils

    with hosts.serve() as server:
        monkeypatch.setenv("JFT_MIRROR", server.url)
        monkeypatch.setenv("JFT_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_ENDPOINT", f"{server.url}/hub")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setattr(transfer, "PAUSE", 0.0)
        # The hub's library reads these when it is imported.
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        yield server
        if hasattr(utils, "close_session"):
            utils.close_session()


def json_bytes(value: Any) -> bytes:
    return json.dumps(value).encode()


def find(weights: str) -> Found:
    return find_weights(weights)


def get(weights: str) -> Description:
    return fetch(find(weights))


def refusal(weights: str) -> str:
    with pytest.raises(InputError) as caught:
        find(weights)
    return one_line(caught)


def fetch_refusal(weights: str) -> str:
    found = find(weights)
    with pytest.raises(InputError) as caught:
        fetch(found)
    return one_line(caught)


def one_line(caught: pytest.ExceptionInfo[InputError]) -> str:
    message = str(caught.value)
    assert "\n" not in message
    return message


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def test_random_and_bundled_weights():
    assert find("none").is_random
    found = find("resnet20-cifar10")
    path = fetch(found).path
    about = {"source": "resnet20-cifar10"}
    assert fetch(found) == Description(path=path, about=about)
    assert found.location == path
    assert path.is_file()


def test_finding_weights_imports_nothing_heavy():
    code = (
        "import sys; from jft.weights.find import find_weights as f\n"
        "f('torchvision:resnet50'); f('timm:resnet50.a1_in1k'); f('hf:a/b')\n"
        "heavy = {'jax', 'flax', 'huggingface_hub', 'rich', 'http.client'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


class TestNames:
    @pytest.mark.parametrize(
        ("asked", "named"),
        [
            (f"{TORCH}1", f"{TORCH}1"),
            ("torchvision:resnet50", f"{TORCH}2"),
            ("torchvision:resnet50/DEFAULT", f"{TORCH}2"),
            ("keras:vgg16", "keras:vgg16"),
            ("bit:M-R50x1", "bit:M-R50x1"),
        ],
    )
    def test_a_name_is_a_link(self, table: Any, asked: str, named: str):
        known = table[named]
        assert find(asked) == Found(asked, Link(known.file, known.digest), known)

    @pytest.mark.parametrize(
        ("asked", "name", "revision"),
        [
            ("timm:resnet50.a1_in1k", "timm/resnet50.a1_in1k", "main"),
            ("timm:resnet50.tv_in1k", "timm/resnet50.tv_in1k", "v1"),
            ("timm:resnet50.tv_in1k@main", "timm/resnet50.tv_in1k", "main"),
            (
                "timm:resnet18.not_in_the_table",
                "timm/resnet18.not_in_the_table",
                "main",
            ),
            ("hf:microsoft/resnet-50", "microsoft/resnet-50", "main"),
            ("hf:microsoft/resnet-50@refs/pr/4", "microsoft/resnet-50", "refs/pr/4"),
        ],
    )
    def test_a_name_is_a_repository(
        self, table: Any, asked: str, name: str, revision: str
    ):
        known = table.get(asked.partition("@")[0])
        expected = Found(asked, Repository(name, revision), known)
        assert find(asked) == expected

    @pytest.mark.parametrize(
        ("asked", "found"),
        [
            (
                "torchvison:resnet50",
                "unknown source 'torchvison'; did you mean 'torchvision'? (sources: t",
            ),
            (
                "torchvision:resnet50/IMAGENET1K_V3",
                f"there are {TORCH}1, {TORCH}2 (pyth",
            ),
            ("torchvision:resnet5O", f"did you mean '{TORCH}"),
            ("torchvision:", "are published"),
            ("keras:vgg61", "did you mean 'keras:vgg16'?"),
            ("bit:M-R50x2", "did you mean 'bit:M-R50x1'?"),
            (
                "timm:resnet5O.a1_in1k",
                "jft has no network 'resnet5O'; did you mean 'resn",
            ),
            ("timm:vit_base.x", "jft has no network 'vit_base'"),
            ("timm:resnet50", "there are timm:resnet50.a1_in1k, timm:resnet50.tv_in1k"),
            ("timm:resnet50.a/b", "is not of the form OWNER/REPO[@REVISION]"),
            ("hf:resnet-50", "is not of the form OWNER/REPO[@REVISION]"),
            ("hf:a/b@../../c", "is not of the form OWNER/REPO[@REVISION]"),
            ("hf:../b", "is not of the form OWNER/REPO[@REVISION]"),
            ("http://host/net.pth", "is not https: others could change"),
            (
                "https://host/net.pth",
                "needs a digest: write https://host/net.pth#sha256",
            ),
            ("https://host/net.pth#sha256=0123", "`sha256sum FILE` prints"),
            (f"https://host/#sha256={SHA256}", "is not an https://HOST/PATH address"),
            ("resnet50", "did you mean 'torchvision:resnet50'?"),
            ("resnet20-cifar1O", "did you mean 'resnet20-cifar10'?"),
            ("no/such.pth", "'no/such.pth': it is neither a file nor a name"),
            ("", "'': it is neither a file nor a name"),
            ("x" * 5000, "it is neither a file nor a name"),
            ("a\0/b", "it is neither a file nor a name"),
            ("~nobody-here/b", "it is neither a file nor a name"),
        ],
    )
    def test_other_names_are_explained(self, asked: str, found: str):
        message = refusal(asked)
        assert found in message
        assert "\n" not in message

    def test_a_path_with_a_slip_names_its_neighbours(self, tmp_path: Path):
        (tmp_path / "mine.safetensors").touch()
        message = refusal(str(tmp_path / "mnie.safetensors"))
        assert "did you mean 'mine.safetensors'?" in message


class TestFiles:
    def test_a_file_is_itself(self, tmp_path: Path):
        path = tmp_path / "mine.pth"
        path.write_bytes(DATA)
        assert get(str(path)).path == path

    def test_a_published_file_is_known_by_its_name(self, tmp_path: Path):
        path = tmp_path / PTH
        path.write_bytes(DATA)
        local = get(str(path))
        assert local.model == "resnet50"
        assert local.preprocess
        assert local.preprocess.resized == 232
        assert local.about["top1"] == "80.858"
        path.write_bytes(DATA[1:])
        message = fetch_refusal(str(path))
        assert (
            f"is not the file that was published under this name, {TORCH}2" in message
        )

    def test_a_run_is_handed_back(self, tmp_path: Path):
        write(tmp_path, {"config.json": b"{}", "manifest.json": b"{}"})
        assert find(str(tmp_path)).is_run
        local = get(str(tmp_path))
        assert local.path == tmp_path

    @pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
    def test_a_folder_has_its_weights_and_their_config(self, tmp_path: Path, name: str):
        write(tmp_path, {name: DATA, "config.json": json_bytes(TIMM)})
        local = get(str(tmp_path))
        assert local.path == tmp_path / name
        assert local.model == "resnet50"
        # Naming the file in it loses nothing.
        assert get(str(tmp_path / name)).preprocess == local.preprocess

    def test_a_folder_without_weights_says_what_it_lacks(self, tmp_path: Path):
        message = refusal(str(tmp_path))
        assert "is neither a run nor a folder of weights" in message
        assert all(name in message for name in WEIGHT_FILES)

    @pytest.mark.parametrize("as_folder", [True, False])
    def test_an_index_is_its_files(self, tmp_path: Path, as_folder: bool):
        index = json_bytes({"weight_map": {"b": "2.safetensors", "a": "1.safetensors"}})
        path = tmp_path / "net.safetensors.index.json"
        path.write_bytes(index)
        asked = str(tmp_path if as_folder else path)
        assert "files that do not exist: 1.safetensors, 2.saf" in refusal(asked)
        write(tmp_path, {"1.safetensors": b"1", "2.safetensors": b"2"})
        assert get(asked).path == path

    @pytest.mark.parametrize(
        ("index", "found"),
        [
            *(
                (json_bytes({"weight_map": {"a": name}}), "is not the plain name")
                for name in (
                    *("../../x.safetensors", "/etc/x.safetensors", "a/b.safetensors"),
                    *("..", ".hidden.safetensors", "a\\b.bin", "x.py", "", 7, None),
                )
            ),
            (json_bytes({"weight_map": {}}), "no weight_map"),
            (json_bytes({"weight_map": []}), "no weight_map"),
            (json_bytes({}), "no weight_map"),
            (b"[" * 100_000, "JSON"),
            (b"[]", "JSON"),
            (b"\xff", "JSON"),
            (b"", "JSON"),
        ],
    )
    def test_a_hostile_index_is_refused(self, tmp_path: Path, index: bytes, found: str):
        write(tmp_path, {"model.safetensors.index.json": index})
        assert found in refusal(str(tmp_path))


class TestLinks:
    def test_a_name_is_fetched_with_what_is_known(self, host: Host, table: Any):
        host.files[f"/torch.example.org/m/{PTH}"] = DATA
        local = get("torchvision:resnet50")
        known = table[f"{TORCH}2"]
        assert local.path.read_bytes() == DATA
        assert local.path.name == PTH
        assert (local.model, local.preprocess) == ("resnet50", known.preprocess)
        assert local.about == {
            "source": "torchvision:resnet50",
            "url": known.file,
            "licence": "BSD",
            "labels": "imagenet-1k",
            "top1": "80.858",
        }

    def test_keras_and_bit(self, host: Host):
        host.files["/keras.example.org/vgg16.h5"] = DATA
        host.files["/bit.example.org/BiT-M-R50x1.npz"] = DATA
        keras, bit = (get(n) for n in ("keras:vgg16", "bit:M-R50x1"))
        assert keras.preprocess == CAFFE
        assert bit.preprocess == INCEPTION
        assert "top1" not in bit.about

    def test_an_address_with_a_digest(self, host: Host):
        host.files["/host.example.org/net.pth"] = DATA
        local = get(f"https://host.example.org/net.pth#sha256={SHA256}")
        assert local.path.read_bytes() == DATA
        assert local.model is None
        wrong = f"https://host.example.org/net.pth#sha256={SHA256[::-1]}"
        assert "did not send the published file" in fetch_refusal(wrong)

    def test_a_published_name_elsewhere_is_still_held_to_its_digest(self, host: Host):
        host.files[f"/mirror.example.org/{PTH}"] = other = DATA[1:]
        digest = hashlib.sha256(other).hexdigest()
        url = f"https://mirror.example.org/{PTH}#sha256={digest}"
        assert "is not the file that was published" in fetch_refusal(url)


class TestRepositories:
    def test_one_of_timm(self, host: Host, tmp_path: Path):
        files = {"config.json": json_bytes(TIMM), "model.safetensors": DATA}
        host.add_repository("somebody/net", files)
        local = get("hf:somebody/net")
        path = local.path
        assert path.read_bytes() == DATA
        assert path.is_relative_to(tmp_path / "hub")
        assert local.model == "resnet50"
        assert local.class_names == ("cat", "dog", "eel")
        assert local.preprocess == Preprocess(
            size=160,
            interpolation="bicubic",
            crop_fraction=0.95,
            mean=(0.5, 0.4, 0.3),
            std=(0.25, 0.2, 0.1),
        )
        assert local.about == {
            "source": "hf:somebody/net",
            "url": f"{host.url}/hub/somebody/net/tree/main",
            "licence": "apache-2.0",
            "revision": COMMIT,
        }
        assert (tmp_path / "cache" / "hub" / f"{SHA256}.sha256").is_file()

    def test_one_of_transformers(self, host: Host):
        files = {
            "config.json": json_bytes(TRANSFORMERS),
            "preprocessor_config.json": json_bytes(PROCESSOR),
            "pytorch_model.bin": DATA,
        }
        host.add_repository("somebody/net", files)
        local = get("hf:somebody/net@v1")
        assert local.path.name == "pytorch_model.bin"
        assert local.model == "resnet50"
        assert local.class_names == ("cat", "dog")
        assert local.preprocess == Preprocess(interpolation="bicubic")
        resolved = [path.split("/resolve/") for _, path, _ in host.asked]
        revisions = {rest[0].split("/")[0] for _, *rest in resolved if rest}
        # All files are of the commit that the first one was of.
        assert revisions == {"v1", COMMIT}

    def test_one_without_a_config(self, host: Host, monkeypatch: pytest.MonkeyPatch):
        host.add_repository("somebody/net", {"model.safetensors": DATA})
        local = get("hf:somebody/net")
        assert (local.model, local.preprocess) == (None, None)
        # The cache remembers what the repository lacks.
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert get("hf:somebody/net") == local

    def test_one_in_the_table_needs_no_config(self, host: Host, table: Any):
        host.add_repository("timm/resnet50.a1_in1k", {"model.safetensors": DATA})
        local = get("timm:resnet50.a1_in1k")
        assert local.preprocess == table["timm:resnet50.a1_in1k"].preprocess
        assert local.about["top1"] == "80.1"
        assert not [path for _, path, _ in host.asked if "config" in path]

    def test_one_in_several_files(self, host: Host):
        index = {"weight_map": {"a": "b.safetensors", "b": "a.safetensors"}}
        files = {
            "config.json": json_bytes(TIMM),
            "model.safetensors.index.json": json_bytes(index),
            "a.safetensors": DATA,
            "b.safetensors": DATA[1:],
        }
        host.add_repository("somebody/net", files)
        path = get("hf:somebody/net").path
        assert path.name == "model.safetensors.index.json"
        assert path.with_name("a.safetensors").read_bytes() == DATA
        assert path.with_name("b.safetensors").read_bytes() == DATA[1:]
        del host.files["/hub/somebody/net/resolve/b.safetensors"]
        host.add_repository("other/net", files)
        del host.files["/hub/other/net/resolve/b.safetensors"]
        assert "has no file b.safetensors, which its index" in fetch_refusal(
            "hf:other/net"
        )

    def test_an_index_that_points_elsewhere(self, host: Host):
        index = json_bytes({"weight_map": {"a": "../../x.safetensors"}})
        files = {"model.safetensors.index.json": index}
        host.add_repository("somebody/net", files)
        assert "'../../x.safetensors', which is not" in fetch_refusal("hf:somebody/net")

    def test_a_second_time_nothing_is_downloaded(
        self, host: Host, monkeypatch: pytest.MonkeyPatch
    ):
        files = {"config.json": json_bytes(TIMM), "model.safetensors": DATA}
        host.add_repository("somebody/net", files)
        found = find("hf:somebody/net")
        first = fetch(found)
        assert fetch(found) == first
        assert host.gets(f"/cdn/{SHA256}") == [""]
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        host.asked.clear()
        assert fetch(found) == first
        assert not host.asked

    def test_a_tampered_byte_is_refused(self, host: Host):
        host.add_repository("somebody/net", {"model.safetensors": DATA})
        host.files[f"/cdn/{SHA256}"] = b"W" + DATA[1:]
        message = fetch_refusal("hf:somebody/net")
        assert f"its sha256 is not {SHA256}. Delete it" in message
        host.files[f"/cdn/{SHA256}"] = DATA
        assert get("hf:somebody/net").path.read_bytes() == DATA

    @pytest.mark.parametrize(
        ("code", "status", "found"),
        [
            ("RepoNotFound", 401, "does not exist, or is private"),
            ("GatedRepo", 403, "requires that you accept its terms"),
        ],
    )
    def test_no_such_repository(self, host: Host, code: str, status: int, found: str):
        host.gone["some/net"] = (code, status)
        message = fetch_refusal("hf:some/net")
        assert message.startswith(f"{host.url}/hub/some/net/tree/main {found}")

    def test_no_such_revision_and_no_weights(self, host: Host):
        host.add_repository("some/net", {"README.md": b"empty"})
        assert "no such revision" in fetch_refusal("hf:some/net@v7")
        assert "has no weights: none of model.safetensors" in fetch_refusal(
            "hf:some/net"
        )

    @pytest.mark.parametrize(
        ("offline", "reason"), [("1", "HF_HUB_OFFLINE is set"), ("0", "refused")]
    )
    def test_unreachable(
        self, host: Host, monkeypatch: pytest.MonkeyPatch, offline: str, reason: str
    ):
        monkeypatch.setenv("HF_HUB_OFFLINE", offline)
        # The library waits half a minute, all in all.
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        url = hosts.refusing_url()
        monkeypatch.setenv("HF_ENDPOINT", url)
        message = fetch_refusal("timm:resnet50.a1_in1k")
        page = f"{url}/timm/resnet50.a1_in1k/tree/main"
        assert message.startswith("hf:timm/resnet50.a1_in1k cannot be fetched (")
        assert reason in message
        assert f"model.safetensors of {page} into a folder on this machine" in message

    @pytest.mark.process
    def test_the_environment_is_honoured(self, host: Host, tmp_path: Path):
        host.add_repository("some/net", {"model.safetensors": DATA})
        code = (
            "from jft.weights.fetch import fetch\n"
            "from jft.weights.find import find_weights\n"
            "print(fetch(find_weights('hf:some/net')).path)"
        )
        command = [sys.executable, "-c", code]
        environment = {**os.environ, "HF_HOME": str(tmp_path / "home")}
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert run.stdout.startswith(str(tmp_path / "home" / "hub")), run.stderr
        environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "empty")}
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert "hf:some/net cannot be fetched" in run.stderr


class TestConfigs:
    def described(
        self, folder: Path, config: Any, processor: Any = None
    ) -> Description:
        write(folder, {"config.json": json_bytes(config), "model.safetensors": DATA})
        if processor is not None:
            write(folder, {"preprocessor_config.json": json_bytes(processor)})
        return get(str(folder))

    def test_the_older_form_of_timm(self, tmp_path: Path):
        config = {k: v for k, v in TIMM.items() if k != "pretrained_cfg"}
        config |= TIMM["pretrained_cfg"]
        old = self.described(tmp_path, config)
        assert old == self.described(tmp_path, TIMM)

    @pytest.mark.parametrize(
        ("kind", "depths", "model"),
        [
            ("basic", [2, 2, 2, 2], "resnet18"),
            ("basic", [3, 4, 6, 3], "resnet34"),
            ("bottleneck", [3, 4, 23, 3], "resnet101"),
            ("bottleneck", [3, 8, 36, 3], "resnet152"),
        ],
    )
    def test_every_depth_of_transformers(
        self, tmp_path: Path, kind: str, depths: list[int], model: str
    ):
        widths = [64 if kind == "basic" else 256]
        widths = [widths[0] * 2**i for i in range(4)]
        config = {"layer_type": kind, "depths": depths, "hidden_sizes": widths}
        assert self.described(tmp_path, TRANSFORMERS | config).model == model

    def test_names_that_nobody_gave_are_none(self, tmp_path: Path):
        config = TRANSFORMERS | {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}
        assert self.described(tmp_path, config).class_names == ()

    @pytest.mark.parametrize(
        ("processor", "expected"),
        [
            ({}, Preprocess(interpolation="bicubic")),
            ({"size": 224, "crop_pct": None}, Preprocess(interpolation="bicubic")),
            (
                {
                    "size": {"shortest_edge": 256},
                    "do_center_crop": True,
                    "crop_size": {"height": 192, "width": 192},
                    "resample": 2,
                },
                Preprocess(size=192, crop_fraction=0.75),
            ),
            # From 384 pixels on, ConvNext's squashes; BiT's with both sides does, too.
            (
                {"size": {"shortest_edge": 384}},
                Preprocess(
                    size=384,
                    interpolation="bicubic",
                    crop="squash",
                    crop_fraction=1.0,
                ),
            ),
            (
                {
                    "size": {"height": 256, "width": 256},
                    "do_center_crop": True,
                    "crop_size": 224,
                    "resample": 2,
                },
                Preprocess(crop="squash"),
            ),
            (
                {"do_normalize": False, "resample": 1},
                Preprocess(interpolation="lanczos", mean=(0,) * 3, std=(1,) * 3),
            ),
        ],
    )
    def test_image_processors(
        self, tmp_path: Path, processor: dict[str, Any], expected: Preprocess
    ):
        local = self.described(tmp_path, TRANSFORMERS, PROCESSOR | processor)
        assert local.preprocess == expected

    @pytest.mark.parametrize(
        ("processor", "found"),
        [
            ({"size": {"height": 224, "width": 192}}, "jft makes squares"),
            ({"do_rescale": False}, "not scaled to [0, 1]"),
            ({"rescale_factor": 1 / 127.5}, "not scaled to [0, 1]"),
            ({"resample": 4}, "interpolation 'resample 4'"),
            ({"image_std": [1, 0, 1]}, "std must be positive"),
            ({"image_mean": [1, 0]}, "is damaged: not enough values"),
            ({"image_mean": 7}, "is damaged: "),
            ({"size": "large"}, "is damaged: "),
            (
                {"size": {"shortest_edge": -1}},
                "image size must be a number of pixels from 1",
            ),
        ],
    )
    def test_other_image_processors_are_refused(
        self, tmp_path: Path, processor: dict[str, Any], found: str
    ):
        with pytest.raises(InputError) as caught:
            self.described(tmp_path, TRANSFORMERS, PROCESSOR | processor)
        message = one_line(caught)
        assert message.startswith(str(tmp_path / "preprocessor_config.json"))
        assert found in message

    @pytest.mark.parametrize(
        ("config", "found"),
        [
            ({"model_type": "vit"}, "model_type 'vit'; jft reads the configs of timm"),
            (
                TIMM | {"architecture": "resnet5O"},
                "no network 'resnet5O'; did you mean '",
            ),
            (TIMM | {"architecture": ["resnet50"]}, "is damaged: "),
            (TIMM | {"pretrained_cfg": {}}, "does not state 'input_size'"),
            (TIMM | {"pretrained_cfg": 7}, "is damaged: "),
            (
                TRANSFORMERS | {"depths": [1, 1, 1, 1]},
                "no ResNet has 'bottleneck' bloc",
            ),
            (TRANSFORMERS | {"depths": 7}, "is damaged: "),
            (TRANSFORMERS | {"depths": [2, 2, 2, 2]}, "jft has no network 'resnet26'"),
            (
                TRANSFORMERS | {"embedding_size": 32},
                "embedding_size is 32; jft supports only 64",
            ),
            (TRANSFORMERS | {"hidden_sizes": [1]}, "hidden_sizes is [1]"),
            (TRANSFORMERS | {"id2label": {"7": "cat"}}, "does not state '0'"),
            ([], "JSON"),
        ],
    )
    def test_other_configs_are_refused(self, tmp_path: Path, config: Any, found: str):
        with pytest.raises(InputError) as caught:
            self.described(tmp_path, config)
        message = one_line(caught)
        assert message.startswith(str(tmp_path / "config.json"))
        assert found in message

    @pytest.mark.parametrize(
        ("name", "value"),
        [("global_pool", "max"), ("model_args", {"act_layer": "silu"})],
    )
    def test_a_changed_network_is_refused(self, tmp_path: Path, name: str, value: Any):
        with pytest.raises(InputError, match=f"{name} is .*; jft supports"):
            self.described(tmp_path, TIMM | {name: value})
        usual = {"global_pool": "avg", "model_args": {}}
        assert self.described(tmp_path, TIMM | usual).model == "resnet50"

    @pytest.mark.parametrize(
        ("mode", "crop"),
        [("squash", "squash"), ("border", "letterbox"), (None, "centre")],
    )
    def test_the_crop_modes_of_timm(self, tmp_path: Path, mode: str, crop: str):
        cfg = TIMM["pretrained_cfg"] | {"crop_mode": mode}
        found = self.described(tmp_path, TIMM | {"pretrained_cfg": cfg}).preprocess
        assert found
        assert found.crop == crop
        assert found.crop_fraction == 0.95

    def test_another_crop_mode_is_refused(self, tmp_path: Path):
        cfg = TIMM["pretrained_cfg"] | {"crop_mode": "tile"}
        with pytest.raises(InputError, match="'tile'; jft supports center, squash"):
            self.described(tmp_path, TIMM | {"pretrained_cfg": cfg})


class TestTheRealTable:
    @pytest.fixture
    def real(self) -> Mapping[str, Published]:
        path = Path(published.__file__).with_suffix(".csv")
        return read_table(path.read_text())

    def test_every_row_is_of_a_network_and_can_be_found(
        self, real: Mapping[str, Published], monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(published, "published", lambda: real)
        monkeypatch.setattr(find_module, "published", lambda: real)
        for name, row in real.items():
            assert row.model in MODELS
            found = find(name)
            assert found.published == row
            if isinstance(found.location, Link):
                assert published.by_file_name(found.location.cached.name) == row
        for model, version in (("resnet50", 2), ("vgg16", 1)):
            name = f"torchvision:{model}/IMAGENET1K_V{version}"
            assert find(f"torchvision:{model}").published == real[name]

    def test_torchvision_says_eight_digits(self, real: Mapping[str, Published]):
        rows = [row for name, row in real.items() if name.startswith("torchvision:")]
        for row in rows:
            assert row.file.endswith(f"-{row.digest.removeprefix('sha256:')}.pth")
