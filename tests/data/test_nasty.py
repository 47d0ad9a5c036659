"""Each nasty file has the fate it states; all together cost little time and memory."""

import json
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from nasty_files import Nasty, all_files

from jft.data.decode import DecodeError, decode

FILES = all_files()


def test_there_are_at_least_a_hundred_of_every_kind():
    names = Counter(nasty.name for nasty in FILES)
    assert max(names.values()) == 1
    outcomes = Counter(nasty.outcome for nasty in FILES)
    assert len(FILES) >= 200
    assert min(outcomes[o] for o in ("decoded", "converted", "rejected")) >= 40


@pytest.mark.parametrize("nasty", FILES, ids=lambda nasty: ascii(nasty.name[:60]))
def test_each_file_has_the_fate_it_states(nasty: Nasty, tmp_path: Path):
    path = nasty.write(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if nasty.outcome == "rejected":
            with pytest.raises(DecodeError) as caught:
                decode(path)
            assert nasty.says in str(caught.value)
            assert str(caught.value)
            assert str(tmp_path) not in str(caught.value)
            return
        image = decode(path)
    assert image.dtype == np.uint8
    if nasty.pixels is None:
        assert image.shape == (*(nasty.shape or ()), 3)
    else:
        assert image.shape == nasty.pixels.shape
        apart = np.abs(image.astype(int) - nasty.pixels).max()
        assert apart <= nasty.within


READ = """
import json, os, sys
from pathlib import Path
import numpy as np
from jft.data.geometry import Square
from jft.data.images import read_all
from jft.data.listing import Listing, Paths
from jft.preprocess import Preprocess

names = tuple(sorted(os.listdir(sys.argv[1])))
labels = np.zeros(len(names), np.int32)
listing = Listing(names, Paths(Path(sys.argv[1]), names), labels)
read = read_all(listing, Square(Preprocess(size=64)), keep=True, workers=4)
# Not getrusage: what a process starts with is the peak of the one that started it.
status = Path("/proc/self/status").read_text().splitlines()
(peak,) = (line.split()[1] for line in status if line.startswith("VmHWM"))
print(json.dumps({
    "found": len(names),
    "used": len(read.images),
    "rejected": sorted(names[i] for i in read.bad),
    "kilobytes": int(peak),
}))
"""


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_all_of_them_at_once_need_little_time_and_memory(tmp_path: Path):
    for nasty in FILES:
        nasty.write(tmp_path)
    command = [sys.executable, "-c", READ, str(tmp_path)]
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=True
    )
    found = json.loads(run.stdout)
    assert found["found"] == len(FILES)
    assert found["used"] + len(found["rejected"]) == found["found"]
    assert set(found["rejected"]) == {n.name for n in FILES if n.outcome == "rejected"}
    assert found["kilobytes"] < 1_500_000
