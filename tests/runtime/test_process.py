"""Where computing would hang, in forked children and with too few threads: an error that says what
to do, and nothing else.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

CHILD = """
import os, signal, sys, warnings
import numpy as np
warnings.simplefilter("ignore")
from gsam.errors import UsageError
from gsam.runtime import batch, compilation_cache, program, shard
doubled = program.Program(lambda x: 2 * x, "cpu")

def answer(call):
    try:
        return "computed" if call() is None else "computed"
    except UsageError as error:
        return f"{error.code} spawn" if "spawn" in str(error) else str(error)

def in_child(call):
    read, write = os.pipe()
    if not os.fork():
        signal.alarm(20)
        os.write(write, answer(call).encode())
        os._exit(0)
    os.close(write)
    return os.read(read, 1000).decode() or "no answer"
"""


def run(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", CHILD + code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_child_of_a_process_that_computed_is_told_what_to_do() -> None:
    told = run("""
doubled(np.float32(1))
import jax
devices = jax.local_devices()
for call in (
    lambda: doubled(np.float32(1)),
    lambda: doubled(np.zeros(3, np.float32)),
    lambda: shard.replicate(np.ones(2), devices),
    lambda: shard.shard_batch(np.ones(2), devices),
    lambda: batch.gather([], []),
    compilation_cache.enable_compilation_cache,
    lambda: in_child(lambda: doubled(np.float32(1))) == "forked spawn" or doubled(np.float32(1)),
):
    print(in_child(call))
print(answer(lambda: doubled(np.float32(1))))
""")
    assert told == ["forked spawn"] * 6 + ["computed"] * 2


def test_a_child_of_a_process_that_had_not_computed_goes_on() -> None:
    assert run("print(in_child(lambda: doubled(np.float32(1))))") == ["computed"]


ONE_CORE = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.environ.pop("PJRT_NPROC", None)
from gsam.errors import UsageError
from gsam.runtime.process import make_room_for_callbacks
import jax
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to a core")
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("make_room_for_callbacks(); print(os.environ['PJRT_NPROC'])", "2"),
        (
            "jax.config.update('jax_num_cpu_devices', 3); make_room_for_callbacks(); print(os.environ['PJRT_NPROC'])",
            "4",
        ),
        ("os.environ['PJRT_NPROC'] = '5'; make_room_for_callbacks(); print(os.environ['PJRT_NPROC'])", "5"),
        (
            "jax.numpy.zeros(3).block_until_ready()\n"
            "error = make_room_for_callbacks()\nprint(error.code, 'PJRT_NPROC=2' in str(error))",
            "threads True",
        ),
    ],
)
def test_a_program_that_calls_python_has_a_thread_to_spare(code: str, expected: str) -> None:
    done = subprocess.run([sys.executable, "-c", ONE_CORE + code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == expected, done.stderr
