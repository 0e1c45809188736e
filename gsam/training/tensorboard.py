"""TensorBoard's event files, of scalars alone: a framed record each, nothing to install.

A record is its length, a checksum of that, the protocol buffer ``Event`` and a checksum of it; the
checksums are CRC-32C, rotated and shifted as TFRecord has them.
"""

from __future__ import annotations

import functools
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from gsam.files import Closing

VERSION = "brain.Event:2"
PREFIX = "events.out.tfevents."


class Events(Closing):
    """Adds scalars to a new file in ``folder``; those that were there are removed.

    Args:
        folder: Is made.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"{PREFIX}*"):
            old.unlink()
        self._file = (folder / f"{PREFIX}{time.time():.3f}.gsam").open("ab", buffering=0)
        self._file.write(record(_text(3, VERSION.encode())))

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Add the values of a step.

        Args:
            step: Its number.
            scalars: By their tags, ``"train/loss"``.
        """
        values = (_text(1, tag.encode()) + b"\x15" + struct.pack("<f", value) for tag, value in scalars.items())
        summary = b"".join(_text(1, value) for value in values)
        self._file.write(record(b"\x10" + _varint(step) + _text(5, summary)))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def record(event: bytes) -> bytes:
    """Frame an event, a protocol buffer that lacks its time."""
    data = b"\x09" + struct.pack("<d", time.time()) + event
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def _text(field: int, content: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _checksum(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _table()[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


@functools.cache
def _table() -> tuple[int, ...]:
    """CRC-32C of every byte."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)
