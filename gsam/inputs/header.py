"""Size and orientation of an image file, by its head; its pixels are not decoded."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
from pathlib import Path

from gsam.errors import ImageError
from gsam.inputs import tiff
from gsam.inputs.decode import _by_pillow, blamed
from gsam.inputs.paths import missing, shown

ORIENTATION = 274
"""The tag of EXIF and TIFF."""


@dataclasses.dataclass(frozen=True)
class Header:
    """Size and orientation as a file has them."""

    width: int
    """Width of the stored image, in pixels."""
    height: int
    """Height of the stored image, in pixels."""
    orientation: int
    """EXIF's, 1 to 8; 1 is upright, from 5 on the sides change places."""

    @property
    def upright(self) -> tuple[int, int]:
        """Height and width of the upright image."""
        size = (self.height, self.width)
        return size[::-1] if self.orientation >= 5 else size


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read size and orientation of an image file.

    Args:
        path: The file.

    Returns:
        The header of its first image.

    Raises:
        ImageError: It is not there or no image, with the codes of `gsam.inputs.image.open_image`.
    """
    path = Path(path)
    name = shown(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ImageError(f"{name}: is not a regular file", "image_not_a_file")
        with path.open("rb") as file, blamed(name):
            start = file.read(512)
            if start[:4] in tiff.MAGIC:
                with contextlib.suppress(tiff.DirectoryError), tiff.opened(file, name, 0) as found:
                    tag = found.page.tags.get(ORIENTATION)
                    return Header(found.size[1], found.size[0], _turn(1 if tag is None else tag.value))
            image, why = _by_pillow(file, start)
            if image is None:
                raise ImageError(f"{name}: {why}")
            with image:
                turn = 1
                with contextlib.suppress(Exception):  # a damaged orientation is no orientation
                    turn = _turn(image.getexif().get(ORIENTATION, 1))
                size = image.size[::-1] if turn >= 5 and image.format == "TIFF" else image.size  # Pillow turned it
                return Header(*size, turn)
    except FileNotFoundError:
        raise missing(path) from None
    except PermissionError:
        raise ImageError(f"{name}: permission denied", "image_forbidden") from None
    except ImageError:
        raise
    except (OSError, ValueError) as error:
        raise ImageError(f"{name}: {getattr(error, 'strerror', None) or error}", "image_missing") from None


def _turn(value: object) -> int:
    """The orientation that a tag says; 1 for what is none."""
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
