"""The few sizes a program is compiled for.

Pictures reach the device as views of fixed size, so neither their size nor their shape compiles anything; what remains is
how many pictures go together and how many queries are asked.
"""

from __future__ import annotations

import bisect

QUERIES = (16, 128, 512)
"""Queries are padded to the next of these."""


class TooManyQueries(ValueError):
    """More queries than one call takes."""


def bucket(count: int) -> int:
    """The padded number of queries."""
    if count > QUERIES[-1]:
        raise TooManyQueries(f"{count} queries, at most {QUERIES[-1]} go together: split the list")
    return QUERIES[bisect.bisect_left(QUERIES, count)]


def power_of_two(count: int) -> int:
    """The next one up, at least 1."""
    return 1 << max(count - 1, 0).bit_length()


LARGE = 512
"""Views of so many pixels a side keep a CPU busy by themselves."""
