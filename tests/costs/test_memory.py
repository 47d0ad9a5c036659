import jax
import jax.numpy as jnp

from jft.costs import Memory, memory

X = jax.ShapeDtypeStruct((64, 64), jnp.float32)
BYTES = 64 * 64 * 4


def measured(*donated: int) -> Memory:
    def step(x: jax.Array, y: jax.Array) -> jax.Array:
        return x @ y @ jnp.tanh(y)

    found = memory(jax.jit(step, donate_argnums=donated).lower(X, X).compile())
    assert found
    return found


def test_arguments_outputs_and_what_lies_between_are_told_apart():
    found = measured()
    assert (found.arguments, found.outputs, found.aliased) == (2 * BYTES, BYTES, 0)
    # The tangents, and the first product.
    assert found.temporaries >= 2 * BYTES
    assert found.total == 3 * BYTES + found.temporaries


def test_a_donated_argument_is_not_counted_twice():
    found = measured(0)
    assert found.aliased == BYTES
    assert found.total == measured().total - BYTES


def test_a_backend_that_does_not_say_is_none():
    class Silent:
        def memory_analysis(self) -> None:
            return None

    assert memory(Silent()) is None


def test_of_several_devices_it_is_one_device():
    both = jax.ShapeDtypeStruct((2, 64, 64), jnp.float32)
    step = jax.pmap(lambda x: x @ x, devices=jax.devices()[:2])
    found = memory(step.lower(both).compile())
    assert found
    assert (found.arguments, found.outputs) == (BYTES, BYTES)
