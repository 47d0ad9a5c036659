"""A training loop of your own, out of the pieces of jft: two stages stay frozen."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.core import FrozenDict
from sklearn.datasets import load_digits

import jft
from jft.freeze import norms
from jft.models import TrainMode, config_of
from jft.tasks import Classification, to_dict
from jft.tree import digest

EPOCHS, BATCH, COUNT = 2, 32, 1024

digits = load_digits()
pixels = np.kron(np.minimum(digits.images * 16, 255), np.ones((4, 4)))
images = np.repeat(pixels[..., None], 3, axis=-1).astype(np.uint8)  # [N, 32, 32, 3]
labels, steps = digits.target.astype(np.int32), COUNT // BATCH
task = Classification(class_names=tuple("0123456789"), label_smoothing=0.1)

# Network: pretrained, with a new head; what is frozen uses its stored statistics.
net = jft.load_pretrained("resnet20", num_classes=10)
params, stats = net.variables["params"], net.variables["batch_stats"]
rule = jft.FreezeSpec.parse("until:stage2", net.spec)
lr_mults = FrozenDict(rule.lr_mults(params, net.spec))
modes = norms.choose({}, lr_mults, norms.with_statistics(stats))
model = net.spec.build(10, mode=TrainMode(stored=norms.in_mode(modes, "stored")))

# Optimizer and step: compiled once, and the loss is differentiated by what is trained.
schedule = optax.cosine_decay_schedule(0.05, EPOCHS * steps)
tx = jft.make_optimizer(jft.OptimConfig(), schedule, lr_mults)
spec = jft.StepSpec(model, task, tx, lr_mults, net.preprocess, steps_per_epoch=steps)
train_step = jax.jit(jft.make_train_step(spec), donate_argnums=0)
key = jax.random.key_data(jax.random.key(0))
copies = jax.tree.map(jnp.array, (params, FrozenDict(stats)))  # the step reuses memory
state = jft.TrainState(jnp.int32(0), *copies, tx.init(params), key)

rng = np.random.default_rng(0)
for epoch in range(EPOCHS):
    loss = 0.0
    for ids in rng.permutation(COUNT).astype(np.int32).reshape(steps, BATCH):
        batch = {"image": images[ids], "label": labels[ids], "id": ids}
        state, sums = train_step(state, batch | {"weight": np.ones(BATCH, np.float32)})
        loss += float(sums["loss"]) / COUNT
    print(f"epoch {epoch + 1}: training loss {loss:.3f}")

card = jft.ModelCard(
    model=config_of(net.spec), task=to_dict(task), class_names=task.class_names,
    preprocess=net.preprocess, digest=digest(state.variables),
)  # fmt: skip
jft.save_model(Path("digits_loop"), state.variables, card)
predictor = jft.Predictor(net.spec, net.model, state.variables, net.preprocess, task)
found = predictor(images[COUNT:]).argmax(axis=1)
print(f"test accuracy {(found == labels[COUNT:]).mean():.1%}")
