"""The thread that writes: order, bounded memory, errors, and nothing lost when a run ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from gsam.dataset import signals
from gsam.dataset.outputs import Outputs
from gsam.dataset.run import Run
from gsam.dataset.sources import Item
from gsam.dataset.writer import AHEAD, Writer
from gsam.errors import ImageError, OutputError

ITEMS = [Item(Path("in") / f"{name}.png", f"{name}.png", name) for name in "abcdefgh"]


class Files(Outputs[list[int]]):
    """A text file per item, which takes a while."""

    seconds = 0.02
    fails = ""

    def paths(self, item: Item) -> list[Path]:
        return [self.folder / f"{item.stem}.txt"]

    def write(self, item: Item, result: list[int]) -> list[Path]:
        self.thread = threading.current_thread().name
        time.sleep(self.seconds)
        if item.stem == self.fails:
            raise OSError(28, "No space left on device", "out")
        self.paths(item)[0].write_text(str(result))
        return self.paths(item)


def say(item: Item, result: list[int], written: Sequence[Path]) -> str:
    assert all(path.is_file() for path in written), "told only when it is there"
    return item.stem


@pytest.fixture(autouse=True)
def _no_signal_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_received", None)


def run(files: Files, answers: Iterator[tuple[Item, list[int] | Exception]], batch_size: int = 1) -> Run[list[int]]:
    with Run(ITEMS, files, say) as made:
        made.process(answers, batch_size)
    return made


def test_results_are_written_elsewhere_and_told_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = Files(tmp_path, [], ITEMS)
    torn = ImageError("is torn", "image_truncated")
    done = run(files, ((item, torn if item.stem in "bg" else [1]) for item in ITEMS))
    assert files.thread != threading.current_thread().name
    assert capsys.readouterr().out.split() == list("acdefh")
    assert [item.stem for item in done.failed] == ["b", "g"]
    assert (done.done, done.objects) == (6, 6)


def test_writing_and_computing_overlap(tmp_path: Path) -> None:
    files = Files(tmp_path, [], ITEMS)
    files.seconds = 0.1

    def answers() -> Iterator[tuple[Item, list[int]]]:
        for item in ITEMS:
            time.sleep(0.1)
            yield item, [1]

    began = time.monotonic()
    run(files, answers())
    assert time.monotonic() - began < 1.4  # 1.6 one after the other, 0.9 at best


def test_few_results_wait(tmp_path: Path) -> None:
    files = Files(tmp_path, [], ITEMS)
    begun: list[int] = []

    def answers() -> Iterator[tuple[Item, list[int]]]:
        for i, item in enumerate(ITEMS):
            begun.append(i - len(list(tmp_path.glob("*.txt"))))
            yield item, [1]

    run(files, answers())
    assert max(begun) <= AHEAD + 1


@pytest.mark.parametrize("fails", ["a", "c", "h"])
def test_a_full_disk_ends_the_run_there(tmp_path: Path, capsys: pytest.CaptureFixture[str], fails: str) -> None:
    files = Files(tmp_path, [], ITEMS)
    files.fails = fails
    with pytest.raises(OutputError, match="No space left"):
        run(files, ((item, [1]) for item in ITEMS))
    told = capsys.readouterr().out.split()
    assert told == list("abcdefgh"[: "abcdefgh".index(fails)])
    assert {p.stem for p in tmp_path.glob("*.txt")} >= set(told)


def test_an_error_of_the_model_loses_nothing_that_was_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def answers() -> Iterator[tuple[Item, list[int]]]:
        for item in ITEMS[:5]:
            yield item, [1]
        raise RuntimeError("the device is gone")

    with pytest.raises(RuntimeError, match="the device is gone"):
        run(Files(tmp_path, [], ITEMS), answers())
    assert capsys.readouterr().out.split() == list("abcde")
    assert {p.stem for p in tmp_path.glob("*.txt")} == set("abcde")


def test_a_signal_waits_for_what_was_computed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def answers() -> Iterator[tuple[Item, list[int]]]:
        for i, item in enumerate(ITEMS):
            if i == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            yield item, [1]

    signals.listen()
    try:
        with pytest.raises(signals.Interrupted):
            run(Files(tmp_path, [], ITEMS), answers(), batch_size=2)
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)
    assert capsys.readouterr().out.split() == list("abcd")
    assert {p.stem for p in tmp_path.glob("*.txt")} == set("abcd")


def test_what_has_not_begun_is_left_when_the_block_ends() -> None:
    written: list[str] = []

    def write(item: Item, result: int) -> None:
        time.sleep(0.05)
        written.append(item.stem)

    with Writer(write) as writer:
        for item in ITEMS:
            writer.put(item, 1)
    assert written == [item.stem for item in ITEMS[: len(written)]]
    assert len(written) < 3
