"""One trainer for every model: a task says what the model is, the trainer how it learns.

The order of the data is a function of seed and step, and the state is saved whole, so a run that
was killed and resumed gives the losses and the weights that it would have given.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from gsam.dataset.report import tell
from gsam.training.checkpoints import Checkpoints
from gsam.training.interrupt import Stop
from gsam.training.log import Log
from gsam.training.loop import Loop
from gsam.training.progress import Progress
from gsam.training.run import CHECKPOINTS, open_run
from gsam.training.schedule import TrainConfig
from gsam.training.step import TrainState as TrainState
from gsam.training.step import init_state
from gsam.training.task import Batch as Batch
from gsam.training.task import Metrics as Metrics
from gsam.training.task import Task as Task
from gsam.types import Json, Params


def train(
    task: Task,
    config: TrainConfig,
    out: Path,
    *,
    params: Params | None = None,
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    quiet: bool = False,
) -> TrainState:
    """Train until the end of the schedule, an early stop, or SIGTERM or SIGINT.

    All local devices share each batch (where its size is a multiple of their number): two cores
    are used better as two devices (``JAX_NUM_CPU_DEVICES=2``) than by one program's threads.
    Batches are made in a thread, `loop.AHEAD` steps ahead.  A step whose loss or gradient is not
    finite changes nothing; ten in a row end the run.

    On CPU a resumed run repeats an uninterrupted one bit for bit, however it was ended.  Another
    number of devices takes sums in another order: the tests hold a dozen steps on one and on two
    devices to 1e-5 in the weights and to 1e-4 of the loss.

    Args:
        task: The model and its data.
        config: How long and how hard to train.
        out: Folder of the run, which is made: ``run.json``, ``checkpoints/``, ``log.jsonl``, and
            ``tensorboard/``.
        params: Parameters to begin with; by default the task's.
        settings: Plain values that decide what is learnt, beside ``config``: the fingerprint of
            the data, the hash of the model.  They are kept in ``run.json``, and a resume with
            others is refused.
        resume: Go on from the newest checkpoint in ``out``, if there is one.
        quiet: Show no progress on stderr.

    Returns:
        The last state, which is saved too.  Its ``average`` is the result: with
        `TrainConfig.patience` that of the best evaluation, else that of the last step.

    Raises:
        UsageError: ``out`` holds a run, and ``resume`` is false (``training_exists``) or its
            settings are others (``training_changed``); another process trains there
            (``output_locked``); the figure to watch is none (``watch_unknown``).
        CheckpointError: The newest checkpoint is damaged (``training_unreadable``).
        OutputError: The disk is full; the last checkpoint stays.
        GsamError: Ten steps in a row were not finite (``training_not_finite``).
        KeyboardInterrupt: SIGINT came; the run is saved.
        Interrupted: As `KeyboardInterrupt`, for signals that have another handler.

    Example:
        >>> config = TrainConfig(steps=1000, learning_rate=1e-4, muon=False)
        >>> state = train(task, config, Path("runs/leaves"), resume=True)  # doctest: +SKIP
        >>> state.average                                                  # doctest: +SKIP
    """
    with open_run(out, config, settings, resume=resume) as config, Checkpoints(out / CHECKPOINTS, clean=True) as saved:
        state = init_state(task, config, params)
        notes: Json = {}
        if saved.latest is not None:
            like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
            del state  # so that no two are in memory
            state, notes = saved.restore(like)
        seconds = None if config.minutes is None else 60.0 * config.minutes
        with (
            Log(out, int(state.step), int(notes.get("evaluated", 0))) as log,
            Progress(config.steps, seconds, task.batch_size, quiet) as progress,
            Stop(quiet) as stop,
        ):
            if task.batch_size % (count := len(jax.local_devices())):
                progress.say(
                    f"gsam: {count} devices cannot share batches of {task.batch_size}, and each computes them whole: "
                    f"take a multiple of {count}"
                )
            if notes and not log.ended:
                progress.say(f"gsam: going on from step {int(state.step)} of {out}")
            state = Loop(task, config, state, notes, saved=saved, log=log, progress=progress, stop=stop).run()
    if stop.number is not None and not quiet:
        how = "the same command goes on" if resume else "resume it to go on"
        tell(f"gsam: stopped at step {int(state.step)}, which is saved in {out}; {how} from there")
    stop.obey()
    return state
