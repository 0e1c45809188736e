"""The folder that keeps compiled programs from process to process."""

from __future__ import annotations

from pathlib import Path

import jax

from gsam.runtime.process import check_process
from gsam.weights import folders


def enable_compilation_cache() -> None:
    """Keep compiled programs in gsam's cache, if ``JAX_COMPILATION_CACHE_DIR`` is not set.

    Called before any model is loaded, so a forked child is refused here too (`check_process`).
    """
    check_process()
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        jax.config.update("jax_compilation_cache_dir", str(_folder()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def own_cache() -> Path | None:
    """The folder, if compiled programs are kept in gsam's own; None where JAX was given another, or
    none was enabled.
    """
    folder = _folder()
    return folder if jax.config.jax_compilation_cache_dir == str(folder) else None  # type: ignore[attr-defined]


def _folder() -> Path:
    return folders.cache_folder() / "programs"
