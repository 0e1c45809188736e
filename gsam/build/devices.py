"""Devices and number types as users name them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from numpy.typing import DTypeLike

from gsam.errors import UsageError

INSTALL = {"gpu": "pip install 'jax[cuda13]' (or jax[cuda12], jax[rocm])", "tpu": "pip install 'jax[tpu]'"}
CALLED = {"cuda": "gpu", "rocm": "gpu", "nvidia": "gpu"}
ELSEWHERE = "mps", "metal", "xpu", "hip", "npu", "directml", "vulkan"
"""Devices of other libraries."""
FLOATS = {
    "float32": ("fp32", "f32", "float", "single", "32"),
    "bfloat16": ("bf16",),
    "float16": ("fp16", "f16", "half", "16"),
}
"""Types of parameters, and what they are called elsewhere."""


def devices_of(device: str | jax.Device | Sequence[jax.Device] | None) -> tuple[jax.Device, ...]:
    """Find the devices that a user names.

    Args:
        device: A platform (``"cpu"``, ``"gpu"`` or ``"cuda"``, ``"tpu"``: all its local devices),
            one of its devices (``"cuda:0"``), or devices of JAX; None for all local devices of
            JAX's default platform.

    Returns:
        The devices.

    Raises:
        gsam.errors.UsageError: There is no such device (``device_unavailable``), or it is called
            otherwise.
    """
    if device is None:
        return tuple(jax.local_devices())
    if isinstance(device, jax.Device):
        return (device,)
    if isinstance(device, str):
        return _named(device)
    found = tuple(device) if isinstance(device, Sequence) else ()
    if not found or not all(isinstance(d, jax.Device) for d in found):
        example = f'"gpu:{device}"' if isinstance(device, int) and not isinstance(device, bool) else '"gpu:0"'
        raise UsageError(f'device is "cpu", "gpu", "tpu", one of theirs ({example}) or devices of JAX, not {device!r}')
    return found


def _named(text: str) -> tuple[jax.Device, ...]:
    name, _, number = text.strip().lower().partition(":")
    platform = CALLED.get(name, name)
    here = ", ".join(dict.fromkeys(d.platform for d in jax.local_devices()))
    if platform not in ("cpu", *INSTALL):
        what = f"JAX has no devices called {name!r}" if name in ELSEWHERE else f"no device {text!r}"
        raise UsageError(f"{what}: there are cpu, gpu (cuda) and tpu; JAX sees {here} here", "device_unavailable")
    try:
        found = tuple(jax.local_devices(backend=name if name in ("cuda", "rocm") else platform))
    except RuntimeError:
        hint = f"{INSTALL[platform]} for one that is in this machine" if platform in INSTALL else "set JAX_PLATFORMS"
        raise UsageError(f"JAX sees no {name} here, only {here}: {hint}", "device_unavailable") from None
    if not number:
        return found
    if not number.isdecimal() or int(number) >= len(found):
        count = f"{name}:0" + (f" to {name}:{len(found) - 1}" if len(found) > 1 else "")
        raise UsageError(f"no device {text!r}: there is {count}", "device_unavailable")
    return (found[int(number)],)


def dtype_of(dtype: DTypeLike | None, devices: Sequence[jax.Device]) -> Any:
    """Find the floating-point type that a user names.

    Args:
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``, as text or as a type of numpy or JAX;
            None for the default of the devices.
        devices: Those of the parameters.

    Returns:
        A type of numpy.

    Raises:
        gsam.errors.UsageError: It is none of these (``dtype_unknown``).
    """
    if dtype is None:
        return default_dtype(devices)
    names = ", ".join(FLOATS)
    text = dtype.strip().lower().removeprefix("torch.") if isinstance(dtype, str) else None
    for name, others in FLOATS.items():
        if text in others:
            raise UsageError(f"dtype {dtype!r} is called {name!r} here; there are {names}", "dtype_unknown")
    try:
        found = jnp.dtype(text if text is not None else dtype)
    except TypeError:
        raise UsageError(f"no dtype {str(dtype)!r}; there are {names}", "dtype_unknown") from None
    if found.name not in FLOATS:
        raise UsageError(f"parameters are {names}, not {found.name}", "dtype_unknown")
    return found


def default_dtype(devices: Sequence[jax.Device]) -> Any:
    """float32 on CPU, bfloat16 on accelerators."""
    return jnp.float32 if devices[0].platform == "cpu" else jnp.bfloat16
