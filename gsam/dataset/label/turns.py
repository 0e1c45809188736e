"""Which part is next: a worker's own, then those of others, then what dead ones leave."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator

from gsam.dataset.label.claims import Claim, Claims
from gsam.dataset.label.parts import done_parts, is_done
from gsam.dataset.label.plan import Plan
from gsam.dataset.label.workers import Worker
from gsam.files import Closing

POLL = 2.0
"""Seconds between two looks at the parts that others are at; more on a bucket."""


class Turns(Closing):
    """The parts that this process claims, one after the other.

    Args:
        plan: The plan.
        me: Which worker this process is; None for any.
        wait: Whether to wait for the parts of others, and to take over those of dead ones.
        say: Called with lines about what goes on.
    """

    def __init__(self, plan: Plan, me: Worker | None, wait: bool, say: Callable[[str], None]) -> None:
        self._plan, self._me, self._wait, self._say = plan, me, wait, say
        self.claims = Claims(plan.place)
        """Those of this process."""
        self._held: dict[int, Claim] = {}
        self._over = threading.Event()
        self._told = False
        self.done = done_parts(plan)
        """Parts that are there."""

    def __iter__(self) -> Iterator[int]:
        """Claim the parts that nobody is at; each is held until `finished` or `close`.

        It never waits, so that what was begun before it ends is finished: others may wait for that.
        """
        for part in _order(self._plan.parts, self._me):
            if part in self.done or part in self._held:
                continue
            if self._over.is_set():
                return
            claim = self.claims.take(part)
            if claim is None:
                continue
            if is_done(self._plan, part):  # since this process began
                claim.release()
                self.done.add(part)
            else:
                self._held[part] = claim
                yield part

    def again(self) -> bool:
        """Wait a moment for the parts of others; False where none is left, or none waits for them.

        A signal ends the waiting.
        """
        left = self._plan.parts - len(self.done)
        if not left or not self._wait:
            return False
        if not self._told:
            self._say(f"waiting for {left} part{'s' * (left > 1)} that other processes are at")
            self._told = True
        time.sleep(max(POLL, self._plan.place.beat / 8))
        self.done |= done_parts(self._plan)
        return len(self.done) < self._plan.parts

    def finished(self, part: int) -> None:
        """Let go of a part that is written."""
        self.done.add(part)
        self._held.pop(part).release()

    def close(self) -> None:
        """Let go of all that was claimed."""
        self._over.set()
        while self._held:
            self._held.popitem()[1].release()
        self.claims.close()
        self.claims.sweep(self.done)


def _order(parts: int, me: Worker | None) -> Iterator[int]:
    """A worker's own parts first, then those of the others, from the last."""
    if me is None:
        return iter(range(parts))
    own = range(me.index, parts, me.count)
    return itertools.chain(own, (part for part in reversed(range(parts)) if part % me.count != me.index))
