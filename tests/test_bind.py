"""Parameters are bound by name, and what does not fit is refused with a useful message."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gsam import bind
from gsam.nn.layers import Linear


class Stack(nnx.Module):
    def __init__(self) -> None:
        self.blocks = nnx.List([Linear(4, 4) for _ in range(12)])

    def __call__(self, x: jax.Array) -> jax.Array:
        for block in self.blocks:
            x = block(x)
        return x


def test_twelve_blocks_keep_their_order() -> None:
    """Sorted as strings, block 10 comes before block 2: the fault that permutes layers silently."""
    spec = bind.spec(Stack)
    params = {f"blocks/{i}/kernel": jnp.eye(4) for i in range(12)}
    params |= {f"blocks/{i}/bias": jnp.zeros(4).at[0].set(float(i)) for i in range(12)}
    for order in (params, dict(sorted(params.items())), dict(reversed(params.items()))):
        model = spec.bind(order)
        assert [float(b.bias[...][0]) for b in model.blocks] == list(range(12))
    assert float(jax.jit(lambda p, x: spec.bind(p)(x))(params, jnp.zeros((1, 4)))[0, 0]) == sum(range(12))


def test_nothing_is_allocated() -> None:
    spec = bind.spec(Stack)
    assert spec.size == 12 * 20
    assert all(isinstance(s, jax.ShapeDtypeStruct) for s in spec.shapes.values())


def test_what_does_not_fit_is_refused() -> None:
    spec = bind.spec(Stack)
    params = bind.random_params(spec)
    wrong = {k: v for k, v in params.items() if k != "blocks/3/kernel"} | {"blocks/3/kernal": jnp.zeros((4, 4))}
    with pytest.raises(bind.MismatchError, match=r"(?s)missing blocks/3/kernel.*unexpected blocks/3/kernal.*nearest"):
        spec.bind(wrong)
    with pytest.raises(bind.MismatchError, match=r"shape of blocks/0/bias is \(5,\), the model has \(4,\)"):
        spec.check(params | {"blocks/0/bias": np.zeros(5)})
    with pytest.raises(bind.MismatchError, match="and 14 more"):
        spec.check({})
