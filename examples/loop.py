"""A training loop of your own: load, freeze, train, evaluate, save on one page.

python examples/loop.py
"""

from pathlib import Path

import jax
import numpy as np
from sklearn.datasets import load_digits

import jft
from jft.freeze import norms
from jft.models import config_of
from jft.models.training import TrainMode
from jft.tasks import Classification, to_dict
from jft.tree import digest

EPOCHS, BATCH = 2, 64

# Data: uint8 images [N, 32, 32, 3] and their classes.
pixels, labels = load_digits(return_X_y=True)
images = np.kron(pixels.reshape(-1, 8, 8) * 15.9, np.ones((4, 4))).astype(np.uint8)
images = np.repeat(images[..., None], 3, axis=-1)
labels, names = labels.astype(np.int32), tuple("0123456789")
train, test = np.split(np.random.default_rng(0).permutation(len(labels)), [1437])

# Network: pretrained weights, a new head, the first two parts frozen.
net = jft.load_pretrained("resnet20", num_classes=len(names))
params, stats = net.variables["params"], net.variables["batch_stats"]
lr_mults = jft.FreezeSpec.parse("until:stage1", net.spec).lr_mults(params, net.spec)
modes = norms.choose({}, lr_mults, norms.with_statistics(stats))
model = net.model.clone(mode=TrainMode(stored=norms.in_mode(modes, "stored")))

# Step: one compiled function of (state, batch).
task = Classification(class_names=names)
tx = jft.make_optimizer(jft.OptimConfig(name="adamw"), 1e-3, lr_mults)
spec = jft.StepSpec(model, task, tx, lr_mults, net.preprocess)
step = jax.jit(jft.make_train_step(spec), donate_argnums=0)
state = jax.device_put(jft.TrainState.create(net.variables, tx), may_alias=False)

for epoch in range(EPOCHS):
    order, loss = np.random.default_rng(epoch).permutation(train), 0.0
    for ids in np.split(order[: len(order) // BATCH * BATCH], len(order) // BATCH):
        batch = {"image": images[ids], "label": labels[ids], "id": ids.astype(np.int32)}
        state, sums = step(state, batch | {"weight": np.ones(BATCH, np.float32)})
        loss += float(sums["loss"] / sums["weight"]) / (len(order) // BATCH)
    predict = jft.Predictor(net.spec, net.model, state.variables, net.preprocess, task)
    accuracy = np.mean(predict(images[test]).argmax(axis=1) == labels[test])
    print(f"epoch {epoch + 1}: loss {loss:.3f}, accuracy {accuracy:.1%}")

card = jft.ModelCard(
    model=config_of(net.spec),
    task=to_dict(task),
    class_names=names,
    preprocess=net.preprocess,
    digest=digest(state.variables),
)
jft.save_model(Path("digits_model"), state.variables, card)
