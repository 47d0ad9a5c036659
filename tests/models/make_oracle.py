"""Write oracle.npz: what other libraries compute with what reference.py draws.

Needs torch, torchvision, timm and Keras; the tests that read the file do not. Run it as

    PYTHONPATH=tests python tests/models/make_oracle.py

Everything is computed in float64, so that what a test measures is jft's rounding
alone, and their own float32 is printed beside it for scale.
"""

from pathlib import Path
from typing import Any

import numpy as np
import real_networks
import reference
import small_networks

PATH = Path(__file__).with_name("oracle.npz")


def network(name: str, dtype: str) -> real_networks.Real:
    """Return a network with the reference's weights."""
    if name in reference.SMALL:
        return small_networks.build(name, dtype)
    library = "akamaster" if len(reference.SIZES[name]) == 3 else "torchvision"
    return real_networks.build(library, name, reference.CLASSES, dtype)


def eval_numbers(name: str, dtype: str) -> dict[str, Any]:
    """Return one network's logits; and its tensors, where no test restates them."""
    real = network(name, dtype)
    numbers: dict[str, Any] = {}
    if name in reference.SMALL:
        numbers[f"{name}/tensors"] = reference.described(real.tensors)
    for case, images in reference.cases():
        if case == name:
            x = reference.normalise(images).astype(dtype)
            height, width = images.shape[1:3]
            logits = reference.pixels(real.logits(x))
            numbers[f"{name}/logits/{height}x{width}"] = logits
    return numbers


def training_network(name: str, dtype: str) -> Any:
    """Return a torch module to train, with the reference's weights."""
    import torch

    real = network(name, "float32")
    library = "akamaster" if len(reference.SIZES[name]) == 3 else "torchvision"
    model = real_networks.torch_model(library, name, reference.CLASSES)
    model.load_state_dict({k: torch.from_numpy(v) for k, v in real.tensors.items()})
    return model.to(getattr(torch, dtype)).train()


def train_numbers(name: str, dtype: str) -> dict[str, Any]:
    """Return losses of consecutive steps, and gradients and statistics of the first."""
    import torch

    model = training_network(name, dtype)
    images = reference.normalise(reference.images(*reference.TRAINING[name]))
    x = torch.from_numpy(images.astype(dtype)).permute(0, 3, 1, 2)
    label = torch.from_numpy(reference.labels(len(x))).long()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=reference.RATE, momentum=reference.MOMENTUM
    )
    numbers, losses = {}, []
    for step in range(reference.STEPS):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), label)
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            numbers = first_step(name, model)
        optimizer.step()
    return {f"{name}/loss": np.array(losses), **numbers}


def first_step(name: str, model: Any) -> dict[str, Any]:
    grads = {k: p.grad.numpy().copy() for k, p in model.named_parameters()}
    stats = {k: v.numpy().copy() for k, v in model.named_buffers()}
    numbers = {
        f"{name}/gradient_norms": np.array(
            [np.linalg.norm(grads[key].reshape(-1)) for key in sorted(grads)]
        )
    }
    for key in reference.SLICES[name]:
        numbers[f"{name}/gradient/{key}"] = reference.part(grads[key])
    for norm in reference.NORMS[name]:
        for leaf in ("running_mean", "running_var"):
            numbers[f"{name}/stats/{norm}.{leaf}"] = stats[f"{norm}.{leaf}"]
    return numbers


def compute(dtype: str = "float64") -> dict[str, np.ndarray]:
    """Return everything that the file holds, as float32."""
    import torch

    torch.set_num_threads(1)
    numbers: dict[str, Any] = {}
    for name in (*reference.LOGITS, *reference.SMALL):
        numbers |= eval_numbers(name, dtype)
    for name in reference.TRAINING:
        numbers |= train_numbers(name, dtype)
    return {
        key: np.asarray(value, None if key.endswith("/tensors") else np.float32)
        for key, value in numbers.items()
    }


def main() -> None:
    exact, single = compute(), compute("float32")
    for key, value in exact.items():
        if key.endswith("/tensors"):
            continue
        scale = np.abs(value).max()
        error = np.abs(single[key] - value) / (value if "loss" in key else scale)
        off = ", ".join(f"{e:.0e}" for e in (error if "loss" in key else [error.max()]))
        print(f"{key}: scale {scale:.3g}, their float32 off by {off} of it")
    np.savez_compressed(PATH, fingerprint=reference.fingerprint(), **exact)
    print(f"{PATH}: {PATH.stat().st_size} bytes")


if __name__ == "__main__":
    main()
