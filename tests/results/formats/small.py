"""Small masks, and brushes of Label Studio packed and unpacked bit by bit."""

from __future__ import annotations

import numpy as np

SIZE = (12, 16)
ODD = "a<b>\"c\"&'d', ../../x\n\t.. {}"


def masks() -> dict[str, np.ndarray]:
    found = {name: np.zeros(SIZE, bool) for name in ("hole", "parts", "pixel", "line", "empty", "full", "noise")}
    found["hole"][2:9, 3:11] = True
    found["hole"][4:6, 5:8] = False
    found["parts"][0:3, 0:4] = found["parts"][7:12, 10:16] = True
    found["pixel"][11, 15] = True
    found["line"][5, 2:9] = True
    found["full"][:] = True
    found["noise"][:] = np.random.default_rng(0).random(SIZE) < 0.5
    return found


def independently_unpacked(data: bytes) -> list[int]:
    """All values of a brush, bit by bit."""
    stream = "".join(f"{octet:08b}" for octet in data)
    at = 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        assert at <= len(stream)
        return int(stream[at - count : at], 2)

    count, word = take(32), take(5) + 1
    widths = [take(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        run = take(1)
        length = take(widths[take(2)]) + 1
        values += [take(word)] * length if run else [take(word) for _ in range(length)]
    assert len(values) == count
    assert len(stream) - at < 8
    assert "1" not in stream[at:]
    return values


def independently_packed(pieces: list[tuple[bool, list[int]]], widths: tuple[int, ...] = (3, 4, 8, 16)) -> list[int]:
    """A brush of runs (all values alike) and of pieces that are spelled."""
    stream = f"{sum(len(v) for _, v in pieces):032b}00111" + "".join(f"{w - 1:04b}" for w in widths)
    for run, values in pieces:
        kind = next(i for i, w in enumerate(widths) if len(values) <= 2**w)
        stream += f"{int(run)}{kind:02b}{len(values) - 1:0{widths[kind]}b}"
        stream += "".join(f"{v:08b}" for v in (values[:1] if run else values))
    stream += "0" * (-len(stream) % 8)
    return [int(stream[i : i + 8], 2) for i in range(0, len(stream), 8)]
