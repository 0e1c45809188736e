"""Training: losses, matching, schedules and the loop.  Needs the extra ``train``."""

try:
    import optax as optax
except ImportError as error:
    raise ImportError("training needs the package optax: pip install 'gsam-jax[train]'") from error
