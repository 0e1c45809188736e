"""The loop of a run: order, failures that stop nothing else, signals, the report, exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence, Set
from pathlib import Path

import pytest

from gsam.dataset import signals
from gsam.dataset.outputs import Outputs
from gsam.dataset.run import Run
from gsam.dataset.sources import Item
from gsam.errors import ImageError, OutputError, UsageError

ITEMS = [Item(Path("in") / f"{name}.png", f"{name}.png", name) for name in "abcd"]
Answer = tuple[Item, list[int] | Exception]


class Files(Outputs[list[int]]):
    """A text file per item, and one of the run."""

    closed = 0

    def paths(self, item: Item) -> list[Path]:
        return [self.folder / f"{item.stem}.txt"]

    def finished(self) -> Set[Item]:
        return {item for item in self.items if self.paths(item)[0].is_file()}

    def write(self, item: Item, result: list[int]) -> list[Path]:
        (path,) = self.paths(item)
        path.write_text(str(result))
        self.manifest.note(path, path)
        return [path]

    def close(self) -> Path | None:
        self.closed += 1
        return self.folder / "whole.txt"


def visible(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def say(item: Item, result: list[int], written: Sequence[Path]) -> str:
    return f"{item.name} {len(result)}"


def answers(todo: Sequence[Item], bad: str = "") -> Iterator[Answer]:
    for item in todo:
        yield item, ImageError("is torn", "image_truncated") if item.stem in bad else [1, 2]


@pytest.fixture(autouse=True)
def _no_signal_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_received", None)


def test_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Run(ITEMS, Files(tmp_path, [], ITEMS), say) as run:
        run.process(answers(run.todo, bad="b"))
        run.finish()
    assert (run.exit_code, run.done, run.objects, run.failed) == (3, 3, 6, [ITEMS[1]])
    assert visible(tmp_path) == ["a.txt", "c.txt", "d.txt"]
    told = capsys.readouterr()
    assert told.out.splitlines() == ["a.png 2", "c.png 2", "d.png 2"]
    first, *_, last, whole = told.err.splitlines()
    assert first == f"gsam: {Path('in/b.png')}: is torn [image_truncated]"
    assert last.startswith("gsam: 3 of 4 images, 6 objects, ")
    assert last.endswith(f" s; 1 failed: {Path('in/b.png')}; results in {tmp_path}")
    assert whole == f"gsam: {tmp_path / 'whole.txt'}"


def test_one_input_without_fault_is_not_summed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Run(ITEMS[:1], None, say) as run:
        run.process(answers(run.todo))
        run.finish()
    assert capsys.readouterr() == ("a.png 2\n", "")
    assert run.exit_code == 0


def test_resuming(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for bad, wanted in (("cd", 4), ("", 2)):
        with Run(ITEMS, Files(tmp_path, [], ITEMS), say, resume=True) as run:
            assert len(run.todo) == wanted
            run.process(answers(run.todo, bad))
            run.finish()
    assert run.exit_code == 0
    assert "2 of 4 images, 4 objects" in (told := capsys.readouterr().err)
    assert "2 were done before" in told
    with Run(ITEMS, Files(tmp_path, [], ITEMS), say) as run:
        assert len(run.todo) == 4


def test_a_message_that_names_its_input_does_so_once(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(ITEMS, None, say)
    for text in ("in/a.png: is torn", "a.png: is torn"):
        run.record_failure(ITEMS[0], ImageError(text, "image_truncated"))
        assert capsys.readouterr().err == f"gsam: {text} [image_truncated]\n"
    run.record_failure(ITEMS[0], MemoryError("too large"))
    assert capsys.readouterr().err == "gsam: in/a.png: MemoryError: too large [internal]\n"


def test_a_signal_ends_a_run_after_the_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    files = Files(tmp_path, [], ITEMS)

    def interrupted(todo: Sequence[Item]) -> Iterator[Answer]:
        for i, answer in enumerate(answers(todo)):
            if i == 0:
                os.kill(os.getpid(), signal.SIGINT)
            yield answer

    signals.listen()
    try:
        with pytest.raises(signals.Interrupted) as caught, Run(ITEMS, files, say) as run:
            run.process(interrupted(run.todo), batch_size=2)
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert caught.value.code == 130
    assert run.done == 2
    assert files.closed == 1
    assert visible(tmp_path) == ["a.txt", "b.txt"]
    assert "stopping after this batch" in capsys.readouterr().err


def test_a_disk_that_is_full_ends_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "out/a.txt")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OutputError, match=r"^cannot write: out/a.txt: No space left on device$") as caught:  # noqa: SIM117
        with Run(ITEMS, Files(tmp_path, [], ITEMS), say) as run:
            run.process(answers(run.todo))
    assert caught.value.code == "output_failed"
    assert list(tmp_path.iterdir()) == []


def test_files_are_written_when_nobody_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", closed)
    with Run(ITEMS[:1], Files(tmp_path, [], ITEMS[:1]), say) as run:
        run.process(answers(run.todo))
    assert visible(tmp_path) == ["a.txt"]
    with pytest.raises(BrokenPipeError), Run(ITEMS[:1], None, say) as run:
        run.process(answers(run.todo))


def test_a_folder_in_use_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    files = Files(tmp_path, [], ITEMS)
    with Run(ITEMS, files, say), pytest.raises(UsageError, match="locked"), Run(ITEMS, files, say):
        raise AssertionError("entered")


def test_nothing_heavy_is_imported() -> None:
    heavy = ["jax", "flax", "numpy", "PIL", "tqdm", "typer"]
    rooms = "run scene_files mask_files track_files stream"
    code = f"import sys, {', '.join('gsam.dataset.' + r for r in rooms.split())}; "
    code += f"print([m for m in {heavy!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_reading_a_query_loads_no_jax() -> None:
    code = "import sys, gsam.text.queries, gsam.cli.segment, gsam.cli.track; print('jax' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
