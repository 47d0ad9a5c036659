"""The names of runs."""

import pytest

from jft.config import TrainConfig
from jft.data.spec import parse_spec
from jft.train.resolve import data_name, workdir_of


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
    path = workdir_of(TrainConfig(), data_name(parse_spec(data)))
    assert str(path).startswith(f"runs/{name}-")
