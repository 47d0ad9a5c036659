"""The initial variables of a Flax module of your own."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict

from jft import tree
from jft.errors import InputError
from jft.models.own import OwnModel, shapes_of
from jft.weights.initial import Initialised, initial_values
from jft.weights.report import LoadReport


def build_own(own: OwnModel, num_classes: int, *, seed: int = 0) -> Initialised:
    """Return a module with its variables, as `weights.pretrained.build` does.

    Args:
        own: The module, and the variables that are given.
        num_classes: Outputs of the head.
        seed: Fixes newly initialised values.

    Raises:
        InputError: The variables do not fit the module.
    """
    module = own.build(num_classes)
    size = own.preprocess.size
    shapes = shapes_of(module, size)
    given = {} if own.variables is None else tree.flatten(own.variables)
    new = _new(own.name, shapes, given) if given else set(shapes)
    values = initial_values(module, (1, size, size, 3), sorted(new), seed)
    for name in set(shapes) - new:
        values[name] = jnp.asarray(given[name], shapes[name].dtype)
    variables = FrozenDict(tree.unflatten({name: values[name] for name in shapes}))
    report = LoadReport(
        source=own.config_name,
        # Of random values too: no setting describes the module that draws them.
        sha256=tree.digest(variables),
        loaded=tuple(sorted(set(shapes) - new)),
        reinitialised=tuple(sorted(new)),
    )
    return Initialised(
        spec=own,
        model=module,
        variables=variables,
        preprocess=own.preprocess,
        report=report,
    )


def _new(name: str, shapes: dict[str, Any], given: dict[str, Any]) -> set[str]:
    """Return the variables of the head that are not given in their shape.

    Raises:
        InputError: Others are not, or some are no variables of the module.
    """
    fits = {
        n for n, s in shapes.items() if n in given and np.shape(given[n]) == s.shape
    }
    new = shapes.keys() - fits
    wrong = [
        f"- {n}: {np.shape(given[n]) if n in given else 'missing'}, must be {s.shape}"
        for n, s in shapes.items()
        if n in new and n.split("/")[1] != "head"
    ]
    wrong += [f"- {n}: not a variable of {name}" for n in sorted(given.keys() - shapes)]
    if wrong:
        raise InputError(f"variables do not fit {name}:\n" + "\n".join(wrong))
    return new
