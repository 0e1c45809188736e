"""Models that know few words: what users are told of words that are not known, once."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import warnings
from collections.abc import Iterator, Sequence

from gsam.errors import Hint

SMALL = 1000
"""A vocabulary of fewer words is closed: it is no language's."""
SHOWN = 5
"""Unknown words that are named."""


@dataclasses.dataclass(eq=False)
class Told:
    """A record of the words that were told as unknown; the texts of one pipeline share it."""

    small: bool = False
    """Whether the vocabulary is closed."""
    things: tuple[str, ...] = ()
    """Things that the model knows, where its vocabulary is closed."""
    words: set[str] = dataclasses.field(default_factory=set)
    """Words that were told, as not known."""
    hinted: bool = False
    """Whether it was said what the model knows, and which one to take."""
    _waiting: list[str] | None = None

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Tell all unknown words of the block in one warning, at its end."""
        if self._waiting is not None:
            yield
            return
        self._waiting = []
        try:
            yield
        finally:
            waiting, self._waiting = self._waiting, None
            self.unknown(waiting)

    def unknown(self, words: Sequence[str]) -> None:
        """Tell, once each, that words are not known."""
        if self._waiting is not None:
            self._waiting += words
            return
        if not (new := [w for w in dict.fromkeys(words) if w not in self.words]):
            return
        self.words.update(new)
        named = ", ".join(map(repr, new[:SHOWN])) + (f" and {len(new) - SHOWN} more" * (len(new) > SHOWN))
        near = [found[0] for w in new[:SHOWN] if (found := difflib.get_close_matches(w, self.things, 1, 0.75))]
        meant = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        text = f"this model does not know the word{'s' * (len(new) > 1)} {named}{meant}"
        if self.small and not self.hinted:
            text = f"{text}{'' if near else '.'} {self._hint()}"
        warnings.warn(text, stacklevel=4)

    def nothing(self) -> None:
        """Say, where nothing was found and it was not said yet, what a closed vocabulary is for."""
        if self.small and not self.hinted:
            warnings.warn(f"nothing was found. {self._hint()}", Hint, stacklevel=5)

    def _hint(self) -> str:
        self.hinted = True
        known = f"{len(self.things)} things: {', '.join(self.things)}" if self.things else "everyday things"
        other = 'for photographs and other words take grounded_sam: gsam.load("grounded_sam"), -p grounded_sam'
        return f"It knows drawings, not photographs, of {known}; {other}"
