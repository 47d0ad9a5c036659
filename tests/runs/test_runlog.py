"""The names of runs."""

import pytest

from jft.config import TrainConfig
from jft.errors import InputError
from jft.train.preflight import workdir_of


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("digits", "digits"),
        ("folder:a/flowers", "flowers"),
        ("folder:.", "data"),
        ("csv:ages.csv?label=age&root=/data/faces", "ages.csv"),
        ("csv:tags.csv?label=tags&separator=/", "tags.csv"),
        ("tfds:voc:2012?label=labels", "voc:2012"),
    ],
)
def test_a_run_is_named_after_its_data_and_not_the_options(data: str, name: str):
    path = workdir_of(TrainConfig(data=data))
    assert str(path).startswith(f"runs/{name}-")


def test_unknown_data_gives_no_name():
    with pytest.raises(InputError, match="unknown data 'flowers'"):
        workdir_of(TrainConfig(data="flowers"))
