"""Compiled programs, all made with the same options and counted alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import jax

from gsam.runtime.memory import low_memory_options, release_host_memory
from gsam.runtime.process import check_process
from gsam.runtime.traced import kept

R = TypeVar("R")


class Program(Generic[R]):
    """A pure function, compiled for each set of shapes that it is called with.

    It is compiled to need little memory (`low_memory_options`), and what compiling leaves behind
    goes back to the system.
    """

    def __init__(
        self,
        function: Callable[..., R],
        platform: str | None = None,
        *,
        static: Sequence[str] = (),
        donate: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
        owner: Any = None,
    ) -> None:
        """Make a program, which is compiled when it is called.

        Args:
            function: Pure: pytrees of arrays in and out.
            platform: Where it runs, ``"cpu"`` for instance; by default where JAX computes by
                default.
            static: Arguments that are no arrays: each value of them has a compilation of its own.
            donate: Arguments that the caller gives up, whose memory the result may take.
            options: More options for the compiler.
            owner: All that the function reads beside its arguments, dataclasses of gsam and plain
                values: the next process then need not trace it (`gsam.runtime.traced`).  By default
                it is traced in every process.
        """
        platform = platform or jax.default_backend()
        function = kept(function, platform, owner, static) if owner is not None else function
        chosen = {**low_memory_options(platform), **(options or {})}
        self._compiled: Any = jax.jit(
            function, static_argnames=tuple(static), donate_argnames=tuple(donate), compiler_options=chosen
        )

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        check_process()
        before = self.compilations
        found: R = self._compiled(*args, **kwargs)
        if self.compilations > before:
            release_host_memory()
        return found

    def eval_shape(self, *args: Any, **kwargs: Any) -> Any:
        """The shapes and dtypes of a call's result; nothing is compiled or computed."""
        return self._compiled.eval_shape(*args, **kwargs)

    @property
    def compilations(self) -> int:
        """Number of times it was compiled so far."""
        return int(self._compiled._cache_size())
