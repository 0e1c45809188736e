"""Names of an image's files, by the image's name, which may be anything."""

from __future__ import annotations

from pathlib import PurePosixPath


class Stems:
    """Names of files without a suffix, one for each image."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self.doubled = False
        """Whether the last one was taken, so that it has the image's suffix too."""

    def of(self, image: str | None) -> tuple[str, str]:
        """Name the files of an image; also returns its path, which leads nowhere outside."""
        name = inside(image or "") or f"{len(self._taken) + 1}.png"
        stem = str(PurePosixPath(name).with_suffix(""))
        self.doubled = stem in self._taken
        stem, base, count = (name, name, 1) if self.doubled else (stem, stem, 1)
        while stem in self._taken:
            count += 1
            stem = f"{base}-{count}"
        self._taken.add(stem)
        return stem, name


def inside(path: str) -> str:
    """A path with ``/`` below a folder, without what leads out of it."""
    return "/".join(p for p in path.split("/") if p not in ("", ".", ".."))
