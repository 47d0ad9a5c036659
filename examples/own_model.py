"""Fine-tune a Flax module of your own: parts with names, and a head.

python examples/own_model.py
"""

from dataclasses import replace

import flax.linen as nn
import jax

import jft


class SmallNet(nn.Module):
    """Two convolutions and a linear head."""

    num_classes: int = 10
    axis_name: str | None = None  # set by jft for several devices
    mode: jft.TrainMode = jft.TrainMode()  # set by jft in each phase
    stages: tuple[str, ...] = ("conv1", "norm1", "conv2", "head")

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
        keys: jax.Array | None = None,
    ) -> jax.Array:
        """Return logits [B, K] of normalised images [B, H, W, 3]."""
        x = nn.Conv(16, (3, 3), strides=2, name="conv1")(x)
        axis = self.axis_name
        stored = not train or "norm1" in self.mode.stored
        mask = None if weight is None else weight[:, None, None, None] > 0
        norm = nn.BatchNorm(stored, momentum=0.9, axis_name=axis, name="norm1")
        x = nn.relu(norm(x, mask=mask))
        x = nn.relu(nn.Conv(32, (3, 3), strides=2, name="conv2")(x))
        return nn.Dense(self.num_classes, name="head")(x.reshape(len(x), -1))


def main() -> tuple[jft.Run, jft.Run]:
    """Train all parts, then only the last two, from the parameters of the first run."""
    config = jft.TrainConfig(
        freeze="none",
        epochs=2,
        image_size=32,
        optim=jft.OptimConfig(name="adamw", learning_rate=3e-3),
        workdir="runs/small-net",
    )
    whole = jft.Run(jft.fit(config, model=SmallNet()).workdir, model=SmallNet())
    print(f"all parts: accuracy {whole.result.metrics['accuracy']:.1%}")

    start = jft.OwnModel(SmallNet(), whole.predictor().variables)
    config = replace(config, freeze="until:norm1", workdir="runs/small-net-2")
    part = jft.Run(jft.fit(config, model=start).workdir, model=SmallNet())
    print(f"the last two: accuracy {part.result.metrics['accuracy']:.1%}")
    return whole, part


if __name__ == "__main__":
    main()
