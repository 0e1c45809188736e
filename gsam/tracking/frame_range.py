"""Which frames a propagation goes over."""

from __future__ import annotations

from gsam.errors import UsageError


def frame_range(start: int, count: int | None, most: int | None, reverse: bool) -> tuple[int, int | None, int]:
    """Give the first frame, the one before which a propagation ends, and the step.

    The end is None where as many frames as come are wanted.
    """
    if most is not None and most < 0:
        raise UsageError(f"max_frame_num_to_track is at least 0, not {most}")
    if reverse:
        end = 0 if most is None else max(start - most, 0)
        return (start, end - 1, -1) if start > 0 else (0, 0, -1)
    if count is None:
        return start, None if most is None else start + most + 1, 1
    return start, count if most is None else min(start + most + 1, count), 1
