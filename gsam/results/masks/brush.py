"""Masks as Label Studio's brushes.

The four channels of an image's pixels, row by row, are runs and pieces in a stream of bits.  Their
number is in front (32 bits), then the bits of a value less one (5), and those of the four kinds of
length less one (4 each).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST = (1 << 30) - 1
"""Pixels that a brush can have."""
WIDTHS = np.array([3, 4, 8, 16])
"""Bits of the length of a run, of which the fewest are taken."""
LONGEST = 1 << 16
BLOCK = 1 << 16


def pack(mask: NDArray[np.bool_]) -> bytes:
    """Pack a mask [H, W] as a brush."""
    flat = mask.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=~flat[:1]))
    lengths = 4 * np.diff(starts, append=flat.size)
    pieces = -(-lengths // LONGEST)
    runs = np.full(pieces.sum(), LONGEST)
    runs[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * LONGEST
    kinds = np.searchsorted(1 << WIDTHS, runs)
    values = np.repeat(flat[starts], pieces) * 255
    bits = WIDTHS[kinds]
    head = int("00111" + "".join(f"{w - 1:04b}" for w in WIDTHS), 2)
    words = np.concatenate([[4 * flat.size, head], (4 | kinds) << (bits + 8) | (runs - 1) << 8 | values])
    bits = np.concatenate([[32, 21], bits + 11])
    at = np.arange(32, 0, -1)
    stream = []
    for i in range(0, len(words), BLOCK):
        spelled = np.unpackbits(words[i : i + BLOCK].astype(">u4").view(np.uint8).reshape(-1, 4), axis=1)
        stream.append(spelled[at <= bits[i : i + BLOCK, None]])
    return np.packbits(np.concatenate(stream)).tobytes()


def unpack(data: bytes, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Unpack a brush: pixels whose last channel, the opacity, is at least half.

    Raises:
        ValueError: It is none, or of another size.
    """
    end, data = 8 * len(data), data + bytes(8)
    octets = np.frombuffer(data, np.uint8).astype(np.uint16)

    def bits(at: int, count: int) -> int:
        return int.from_bytes(data[at >> 3 : (at >> 3) + 8], "big") >> (64 - (at & 7) - count) & ((1 << count) - 1)

    count = 4 * size[0] * size[1]
    if end < 53 or bits(0, 32) != count or bits(32, 5) != 7:
        raise ValueError(f"its brush is not of {size[1]} x {size[0]} pixels")
    widths = [bits(37 + 4 * i, 4) + 1 for i in range(4)]
    values = np.zeros(count, np.uint8)
    at, i = 53, 0
    while i < count:
        word = bits(at, 27)
        width = widths[word >> 24 & 3]
        length = (word >> (24 - width) & ((1 << width) - 1)) + 1
        at, j, run = at + 3 + width, i + length, word >> 26
        after = at + 8 * (1 if run else length)
        if j > count or after > end:
            raise ValueError("its brush ends early" if after > end else "its brush has too many pixels")
        if run:
            if value := word >> (16 - width) & 255:
                values[i:j] = value
        else:
            pair = octets[at >> 3 : (at >> 3) + length + 1]
            values[i:j] = (pair[:-1] << 8 | pair[1:]) >> (8 - (at & 7)) & 255
        at, i = after, j
    return values[3::4].reshape(size) >= 128
