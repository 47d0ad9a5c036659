"""Reading a file of given bytes, and the message when it is refused."""

from pathlib import Path

import numpy as np
import pytest

from jft.errors import InputError
from jft.weights.files import read_tensors


def read(path: Path, data: bytes) -> dict[str, np.ndarray]:
    path.write_bytes(data)
    return read_tensors(path).tensors


def refusal(path: Path, data: bytes) -> str:
    """Return the message of a refusal: one short line that begins with the path."""
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_tensors(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 500
    return message
