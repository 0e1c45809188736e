"""The command line as processes, with a stand-in for the pipeline: signals, two at once, closed
streams, locales, homes, and how quickly help is there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gsam import cli
from tests.cli.test_segment import files, picture

ROOT = Path(__file__).parents[2]
FAKE = [sys.executable, str(ROOT / "tests" / "helpers" / "fake_gsam.py")]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}


def start(*arguments: str, cwd: Path, **options: Any) -> subprocess.Popen[str]:
    environment = {**ENV, **options.pop("env", {})}
    return subprocess.Popen(
        [*FAKE, *arguments],
        cwd=cwd,
        env=environment,
        text=True,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        **options,
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.long
def test_a_signal_ends_after_the_batch(tmp_path: Path, number: int, code: int) -> None:
    for i in range(30):
        picture(tmp_path / "in" / f"{i:02}.png")
    process = start("segment", "in", "-q", "dog", "--batch-size", "2", cwd=tmp_path, env={"FAKE_SECONDS": "0.5"})
    assert process.stdout is not None
    process.stdout.readline()  # the first batch is done
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in error
    done = [f for f in files(tmp_path / "out") if f.endswith(".json")]
    assert 2 <= len(done) < 30
    assert len(done) % 2 == 0
    assert len(files(tmp_path / "out")) == 2 * len(done)  # no lock, nothing unfinished


@pytest.mark.long
def test_killed_then_resumed_is_as_if_never_killed(tmp_path: Path) -> None:
    for i in range(8):
        picture(tmp_path / "in" / f"{i}.png")
    assert start("segment", "in", "-q", "dog", "-o", "whole", cwd=tmp_path).wait(60) == 0
    for wait in (0.05, 0.35):
        process = start(
            "segment", "in", "-q", "dog", "-o", "cut", "--resume", cwd=tmp_path, env={"FAKE_SECONDS": "0.1"}
        )
        while not (tmp_path / "cut" / "0.json").exists() and process.poll() is None:
            time.sleep(0.02)
        time.sleep(wait)
        process.kill()
        process.communicate()
    assert start("segment", "in", "-q", "dog", "-o", "cut", "--resume", cwd=tmp_path).wait(60) == 0
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    for name in files(tmp_path / "whole"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.long
def test_two_runs_on_one_folder(tmp_path: Path) -> None:
    for i in range(20):
        picture(tmp_path / "in" / f"{i:02}.png")
    first = start("segment", "in", "-q", "dog", cwd=tmp_path, env={"FAKE_SECONDS": "5"})
    assert first.stdout is not None
    first.stdout.readline()
    second = start("segment", "in", "-q", "dog", cwd=tmp_path)
    _, error = second.communicate(timeout=60)
    assert second.returncode == 2
    assert f"pid {first.pid}" in error
    first.kill()
    first.communicate()
    assert start("segment", "in", "-q", "dog", cwd=tmp_path).wait(60) == 0  # a killed run holds nothing


@pytest.mark.long
def test_stdout_closed(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / "in" / f"{i}.png")
    for extra in ([], ["--json"]):
        read, write = os.pipe()
        os.close(read)
        process = subprocess.run(
            [*FAKE, "segment", "in", "-q", "dog", "-o", "out", *extra],
            cwd=tmp_path, env=ENV, text=True, stdout=write, stderr=subprocess.PIPE, timeout=60, check=False,
        )  # fmt: skip
        os.close(write)
        assert process.returncode == 0
        assert "BrokenPipe" not in process.stderr
        assert len(files(tmp_path / "out")) == 6


@pytest.mark.long
def test_locale_and_time_zone_change_nothing(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    outputs = []
    for environment in ({"LC_ALL": "C", "TZ": "Asia/Seoul"}, {"LC_ALL": "C.UTF-8", "TZ": "UTC"}):
        process = start("segment", "a.png", "-q", "고양이", "--json", cwd=tmp_path, env=environment)
        outputs.append(process.communicate(timeout=60)[0])
        assert process.returncode == 0
    assert outputs[0] == outputs[1]
    assert json.loads(outputs[0])["queries"] == ["고양이"]


@pytest.mark.long
def test_a_home_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    lost = {"HOME": str(tmp_path / "file" / "home"), "HF_HOME": str(tmp_path / "hub")}
    lost |= dict.fromkeys(("XDG_CACHE_HOME", "GSAM_CACHE"), "")
    for extra, code in (({}, 1), ({"GSAM_CACHE": str(tmp_path / "cache")}, 0)):
        process = start("doctor", "--no-run", cwd=tmp_path, env={**lost, **extra})
        out, error = process.communicate(timeout=60)
        assert process.returncode == code, out + error
        assert ("set GSAM_CACHE" in out) == bool(code)


def test_help_is_quick_and_loads_nothing() -> None:
    heavy = ["jax", "flax", "numpy", "PIL", "tokenizers", "huggingface_hub"]
    code = (
        "import sys, time; t = time.perf_counter(); sys.argv = ['gsam', '--help']\n"
        "import atexit; from gsam.cli import main\n"
        f"atexit.register(lambda: print(time.perf_counter() - t, [m for m in {heavy!r} if m in sys.modules]))\nmain()"
    )
    seconds = []
    for _ in range(3):
        out = subprocess.run([sys.executable, "-c", code], env=ENV, capture_output=True, text=True, check=True).stdout
        assert out.splitlines()[-1].endswith("[]")
        seconds.append(float(out.splitlines()[-1].split()[0]))
    assert all(command in out for command in cli.COMMANDS)
    assert min(seconds) < 0.8  # 0.15 on an idle machine
