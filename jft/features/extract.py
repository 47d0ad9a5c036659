"""Features of images, a batch at a time: the part of a step before the cut."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jft import augment
from jft.config import AugmentConfig
from jft.data.pipeline import Batches, Examples, read
from jft.devices import LAG, Devices
from jft.features.cut import Cut
from jft.features.store import Array
from jft.models.network import Network, pooled
from jft.models.pixels import normalise
from jft.preprocess import Preprocess
from jft.types import Batch, Params


@dataclass(frozen=True)
class View:
    """One version of every image: as the augmentation draws it in one epoch.

    Attributes:
        augment: Which changes are made.
        seed: Of the run.
        epoch: Counted from 0.
    """

    augment: AugmentConfig
    seed: int
    epoch: int


def features_of(
    model: Network,
    variables: Params,
    image: jax.Array,
    preprocess: Preprocess,
    cut: Cut,
) -> jax.Array:
    """Return the features before the cut, of uint8 images [B, S, S, C], float32.

    Before the head of a network that pools they are the mean over the pixels, [B, C].
    """
    normal = normalise(image, preprocess)
    features = jnp.asarray(model.apply(variables, normal, stop=cut.after))
    if cut.start == "head":
        features = pooled(features)
    return features.astype(jnp.float32)


def make_extract_step(
    model: Network, preprocess: Preprocess, cut: Cut, view: View | None
) -> Callable[[Params, Batch], jax.Array]:
    """Return `extract_step(variables, batch) -> features`, to be compiled by `devices`.

    Args:
        model: The network, of the dtype that it computes in.
        preprocess: Normalisation and size of the images.
        cut: Where the network is cut.
        view: How images are changed at random; None takes their central square.
    """

    def extract_step(variables: Params, batch: Batch) -> jax.Array:
        image: jax.Array = batch["image"]
        if view is None:
            image = augment.centre(image, preprocess.size)
        else:
            key, epoch = jax.random.key(view.seed), jnp.asarray(view.epoch, jnp.int32)
            image = augment.augment(
                image, batch["id"], key, epoch, view.augment, size=preprocess.size
            ).image
        return features_of(model, variables, image, preprocess, cut)

    return extract_step


def extracted(
    step: Callable[[Any, Any], Any],
    variables: Any,
    source: Examples,
    devices: Devices,
    *,
    batch_size: int,
    workers: int = 0,
) -> Iterator[Array]:
    """Yield the features of all examples in order, [b, ...] float32 at a time.

    Args:
        step: From `make_extract_step`, compiled by `devices`.
        variables: Parameters and statistics, replicated by `devices`.
        source: The images.
        devices: Where the step runs.
        batch_size: Images per step. Equal to that of training, so that the compiled
            program divides its work in the same way.
        workers: Processes that prepare batches.
    """
    left, pending = len(source), deque[Any]()

    def fetch() -> Array:
        nonlocal left
        found = np.asarray(pending.popleft())
        rows = found if devices.kind == "jit" else found.reshape(-1, *found.shape[2:])
        rows, left = rows[:left], left - len(rows)
        return rows

    for batch in read(Batches(source, batch_size), workers=workers):
        pending.append(step(variables, devices.put(batch)))
        if len(pending) > LAG:
            yield fetch()
    while pending:
        yield fetch()
