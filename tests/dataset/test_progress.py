"""Progress on stderr: lines where there is no terminal."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys

import pytest

from gsam.dataset import progress
from gsam.dataset.progress import Progress


def test_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with Progress(4) as bar:
        for clock[0] in (1.0, 6.0, 7.0):
            bar.step()
        bar.print("between")
        bar.step()
    assert capsys.readouterr() == ("", "gsam: 2/4\nbetween\ngsam: 4/4\n")


def test_one_item_needs_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(1) as bar:
        bar.step()
    assert capsys.readouterr().err == ""


RUN = """
import sys, time, warnings
from pathlib import Path
from gsam.dataset import progress
from gsam.dataset.run import Run
from gsam.dataset.sources import Item
from gsam.errors import ImageError
progress.MOMENT = 0.05
items = [Item(Path(f"{i}.png"), f"{i}.png", str(i)) for i in range(5)]
def answers():
    for item in items:
        time.sleep(0.3)
        yield item, ImageError("is torn", "image_truncated") if item.stem == "3" else [1]
with progress.saying("loading nano"):
    time.sleep(0.2)
with Run(items, None, lambda item, result, written: f"{item.name}: a result") as run:
    run.process(answers())
    run.finish()
"""


def screen(text: str) -> list[str]:
    """The lines that a terminal shows in the end, for what tqdm sends."""
    lines, column = [""], 0
    for part in re.findall(r"\x1b\[A|\x1b\[K|\r|\n|[^\x1b\r\n]+", text):
        if part == "\n":
            lines.append("")
            column = 0
        elif part == "\r":
            column = 0
        elif part == "\x1b[K":
            lines[-1] = lines[-1][:column]
        elif part != "\x1b[A":
            lines[-1] = lines[-1][:column] + part + lines[-1][column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in lines if line.strip()]


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo terminals")
def test_results_do_not_tear_the_bar_of_a_terminal() -> None:
    import fcntl
    import pty
    import struct
    import termios

    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    process = subprocess.Popen([sys.executable, "-c", RUN], stdin=side, stdout=side, stderr=side)
    os.close(side)
    sent = b""
    with contextlib.suppress(OSError):  # the end, on Linux
        while piece := os.read(main, 4096):
            sent += piece
    os.close(main)
    assert process.wait() == 0
    text = sent.decode()
    assert "%|" in text, "there was a bar"
    shown = screen(text)
    told = [line for line in shown if line[:1].isdigit() or "is torn" in line]
    assert told == ["0.png: a result", "1.png: a result", "2.png: a result", "gsam: 3.png: is torn [image_truncated]",
                    "4.png: a result"]  # fmt: skip
    rest = [line for line in shown if line not in told]
    assert rest[:2] == ["gsam: loading nano ...", "gsam: compiling (once), and computing the first image ..."]
    assert len(rest) == 3
    assert rest[2].startswith("gsam: 4 of 5 images")


def test_nothing_is_said_of_waiting_without_a_terminal() -> None:
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{i}.png: a result" for i in (0, 1, 2, 4)]
    assert not [line for line in done.stderr.splitlines() if line.endswith("...")]
