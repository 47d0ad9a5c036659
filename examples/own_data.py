"""Fine-tune on data of your own: any object with `len` and `[i]`.

    python examples/own_data.py

A data set of torch, Hugging Face or Grain works in the same way, and so do two arrays:
`jft.fit(config, train=(images, labels))`.
"""

import numpy as np

import jft


class Shapes:
    """Drawings of discs and squares, made when they are asked for."""

    def __init__(self, count: int, seed: int) -> None:
        """Make `count` drawings; another seed makes others."""
        self.count, self.seed = count, seed

    def __len__(self) -> int:
        """Return the number of examples."""
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, str]:
        """Return an image, uint8 [32, 32, 3], and its class."""
        rng = np.random.default_rng((self.seed, index))
        y, x = np.abs(np.indices((32, 32)) - rng.uniform(12, 20, (2, 1, 1)))
        radius = rng.uniform(5, 10)
        disc = index % 2 == 1
        inside = (np.hypot(x, y) if disc else np.maximum(x, y)) < radius
        foreground, background = rng.integers(0, 256, (2, 3), np.uint8)
        image = np.where(inside[..., None], foreground, background)
        return image, "disc" if disc else "square"


def main() -> jft.Result:
    """Train on 240 drawings, test on 80 others."""
    config = jft.TrainConfig(
        freeze="until:stage2", epochs=3, batch_size=40, workdir="runs/shapes"
    )
    result = jft.fit(config, train=Shapes(240, seed=0), test=Shapes(80, seed=1))
    print(
        f"accuracy {result.metrics['accuracy']:.1%} on {result.metrics['n']} drawings"
    )
    return result


if __name__ == "__main__":
    main()
