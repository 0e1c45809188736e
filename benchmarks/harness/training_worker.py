"""What a process of `benchmarks.training` does.

``python -m benchmarks.harness.training_worker TASK JSON`` prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

Answer = dict[str, Any]
KINDS = ("box", "click")
"""First prompts of the comparison, which all have the same number of tokens."""


def scenes(folder: str, train: int, held_out: int) -> Answer:
    """Draw the line drawings."""
    from benchmarks.harness.training_scenes import write

    return {kind: write(Path(folder), kind, count) for kind, count in (("train", train), ("held_out", held_out))}


def checkpoint(folder: str, small: bool) -> Answer:
    """Write the seeded SAM; see `benchmarks.harness.checkpoints`."""
    from benchmarks.harness.checkpoints import SMOOTH, write

    write(Path(folder), small, [f"sam_{SMOOTH}"])
    return {"folder": str(Path(folder) / f"sam_{SMOOTH}")}


def ours(
    model: str, data: str, images: str, out: str, steps: int, batch: int, objects: int, rate: float, keep: str | None
) -> Answer:
    """Tune the decoder in gsam, step by step.

    The losses and the seconds of each step are the answer; with ``keep``, each batch is kept there
    for other programs.
    """
    import jax
    import numpy as np

    from gsam.runtime.compilation_cache import enable_compilation_cache
    from gsam.training.data import read_checked
    from gsam.training.finetuned import schedule
    from gsam.training.model_folder import load_base
    from gsam.training.segmenter.examples import Examples
    from gsam.training.segmenter.features import ImageFeatures
    from gsam.training.segmenter.finetune import side_of, stage_of
    from gsam.training.segmenter.parts import parts
    from gsam.training.segmenter.prompts import rules_for
    from gsam.training.segmenter.task import SegmenterTask
    from gsam.training.step import compile_step, init_state

    enable_compilation_cache()
    base = load_base(model)
    stage = stage_of(base)
    train_on = read_checked(data, images, masks=True).labelled()
    rules = rules_for(stage, KINDS, objects)
    features = ImageFeatures(stage, Path(out), base.sha256)
    side = side_of(stage)
    examples = Examples(train_on, stage, rules, side, batch, 0, features, True)
    task = SegmenterTask(stage, parts(stage), rules, examples, [], what="decoder", features=features)
    config = schedule(
        steps=steps, minutes=None, rate=rate, seed=0, watch=None, patience=None, evaluate_every=None, save_every=None,
        dtype="float32",
    )  # fmt: skip
    start = task.init_params(0)
    for _ in features.compute(task.model(start), train_on.images, mirrored=True):
        pass
    state, take = init_state(task, config, start), compile_step(task, config, jax.local_devices())
    constants = jax.device_put(task.constants)
    losses, seconds = [], []
    for step in range(steps):
        made = task.batch(np.random.default_rng([0, step]), step)
        if keep:
            _keep(Path(keep) / f"{step:04d}.npz", made, rules.corrections, side)
        given = jax.block_until_ready(jax.device_put(made))
        began = time.perf_counter()
        state, metrics = take(state, constants, given, np.float32(step / steps))
        losses.append(float(metrics["loss"]))
        jax.block_until_ready(state)
        seconds.append(time.perf_counter() - began)
    rounds = [int(task.batch(np.random.default_rng([0, step]), step)[1].rounds) for step in range(steps)]
    return {"losses": losses, "seconds": seconds, "rounds": rounds}


def _keep(path: Path, made: Any, corrections: int, side: int) -> None:
    """Write a batch, and the random numbers by which its corrections are chosen."""
    import jax
    import numpy as np

    from gsam.training.segmenter.clicks import CENTRED
    from gsam.training.segmenter.loss import EVERY

    features, prompts = made
    count, asked = prompts.points.shape[:2]
    corrected = -(-asked // EVERY)
    centred, chance = [], []
    for number in range(min(int(prompts.rounds), corrections)):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(prompts.seed), number), count)
        for name, found in (("centred", centred), ("chance", chance)):
            rows = []
            for key in keys:
                which, noise = jax.random.split(key)
                if name == "centred":
                    rows.append(np.asarray(jax.random.bernoulli(which, CENTRED, (corrected, 1, 1)), np.float32))
                else:
                    rows.append(np.asarray(jax.random.uniform(noise, (corrected, side, side))))
            found.append(np.stack(rows))
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = ("points", "labels", "boxes", "boxed", "truth", "content", "rounds")
    arrays = {name: np.asarray(getattr(prompts, name)) for name in fields}
    more = {"centred": np.array(centred, np.float32), "chance": np.array(chance, np.float32)}
    np.savez(path, features=np.asarray(features, np.float32), **arrays, **more)


def peer(model: str, batches: str, rate: float, compiled: bool) -> Answer:
    """Tune the decoder in PyTorch on the batches that `ours` kept."""
    from benchmarks.harness.training_torch import run

    return run(Path(model), Path(batches), rate, compiled)


TASKS = {task.__name__: task for task in (scenes, checkpoint, ours, peer)}


if __name__ == "__main__":
    print(json.dumps(TASKS[sys.argv[1]](**json.loads(sys.argv[2]))))
