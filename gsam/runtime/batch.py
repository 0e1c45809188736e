"""Gather images on the host into batches for the device."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
from jax import device_put  # jnp.asarray would compile a program for every shape
from numpy.typing import NDArray

from gsam.inputs.image import Picture, canvas, content, make_view
from gsam.runtime.process import check_process
from gsam.types import Images, View


def gather(pictures: Sequence[Picture], views: Sequence[View]) -> Images:
    """Stack every view of every picture into a batch, and say which part is not padding."""
    check_process()
    sizes = [p.pixels.shape[:2] for p in pictures]
    shapes = {v.key: canvas(v, sizes) for v in views}
    return Images(
        {v.key: device_put(np.stack([_padded_view(p, v, shapes[v.key]) for p in pictures])) for v in views},
        {v.key: device_put(np.array([content(v, s) for s in sizes], np.int32)) for v in views},
        device_put(np.array(sizes, np.int32)),
    )


def prepared(picture: Picture, views: Sequence[View]) -> Picture:
    """Make a picture's ``views``, which needs no device: the picture with them."""
    return dataclasses.replace(picture, views={v.key: make_view(picture.pixels, v) for v in views})


def _padded_view(picture: Picture, view: View, shape: tuple[int, int]) -> NDArray[np.uint8 | np.float32]:
    """The view [*shape, 3] of a picture: the one that was made before, padded, where it fits."""
    made = picture.views.get(view.key)
    if made is None or made.shape[0] > shape[0] or made.shape[1] > shape[1]:
        return make_view(picture.pixels, view, shape)
    if made.shape[:2] == shape:
        return made
    out = np.full((*shape, 3), round(view.pad), made.dtype)
    out[: made.shape[0], : made.shape[1]] = made
    return out


def image_fingerprint(pixels: NDArray[np.uint8]) -> bytes:
    """Hash the pixels [H, W, 3] of an image and their shape."""
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()
