"""Keep compiled programs on disk."""

from __future__ import annotations

import jax


def keep_programs() -> None:
    """Keep compiled programs on disk, in gsam's cache, unless JAX was told where to (``JAX_COMPILATION_CACHE_DIR``)."""
    from gsam.weights import folders

    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        jax.config.update("jax_compilation_cache_dir", str(folders.cache_folder() / "programs"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
