"""The loop of a run: order, failures that stop nothing else, signals, report, exit code."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set, Sized
from pathlib import Path
from types import TracebackType
from typing import Generic, NamedTuple, NoReturn, Self, TypeVar

from gsam.dataset import signals
from gsam.dataset.outputs import Outputs
from gsam.dataset.progress import Progress
from gsam.dataset.report import display_path, explain, tell
from gsam.dataset.sources import Item
from gsam.dataset.writer import AHEAD, Writer
from gsam.errors import OutputError

R = TypeVar("R", bound=Sized)
SOME_FAILED = 3
"""Exit code of a run in which some inputs failed."""


FIRST = "compiling (once), and computing the first"
"""Said while a run waits for its first result."""


class Kept(NamedTuple):
    """The files of a result, and the errors of formats that could not be written."""

    written: Sequence[Path]
    trouble: Sequence[Exception]


class Run(Generic[R]):
    """One run over many inputs: what becomes of each, and what is printed about it.

    Results go to stdout, everything else to stderr.  As a context, it holds the output folder::

        with Run(items, outputs, describe) as run:
            run.process((item, work(item)) for item in run.todo)
            run.finish()

    Attributes:
        todo: The items that no earlier run finished; all of them before the context is entered.
        failed: Those that could not be read.
        done: How many have a result.
        objects: How many objects were found in them.
        whole_failed: Whether the file that the run has as a whole could not be written.
    """

    def __init__(
        self,
        items: Sequence[Item],
        outputs: Outputs[R] | None,
        describe: Callable[[Item, R, Sequence[Path]], str | None],
        *,
        resume: bool = False,
        as_json: bool = False,
        noun: str = "image",
        quiet: bool = False,
    ) -> None:
        """Prepare a run; nothing is read or written yet.

        Args:
            items: The inputs.
            outputs: The files of the run; None where results go to stdout only.
            describe: Item, result, its files -> what is printed on stdout; None for nothing.
            resume: Whether to leave out what an earlier run finished.
            as_json: Whether stdout is JSON for another program: then the file of the run is not
                named on stderr.
            noun: What an input is called in messages.
            quiet: Whether stderr has errors only.
        """
        self.items, self.outputs, self.noun = items, outputs, noun
        self.todo = list(items)
        self.failed: list[Item] = []
        self.done = self.objects = 0
        self._describe, self._resume, self._as_json = describe, resume, as_json
        self.whole_failed = False
        self._silent, self._quiet = False, quiet
        self._bar: Progress | None = None
        self._folder = contextlib.ExitStack()
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        if self.outputs is not None:
            with contextlib.ExitStack() as stack:
                stack.enter_context(self.outputs.held())
                finished: Set[Item] = self.outputs.finished() if self._resume else frozenset()
                self.todo = [item for item in self.items if item not in finished]
                self.outputs.claim(self.todo)
                self._folder = stack.pop_all()
            for why, count in self.outputs.outdated.items():
                tell(f"gsam: {count} of {len(self.items)} {self.noun}s are done again: {why}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.close()

    @property
    def exit_code(self) -> int:
        """0, or `SOME_FAILED`."""
        return SOME_FAILED if self.failed or self.whole_failed else 0

    def process(self, answers: Iterable[tuple[Item, R | Exception]], batch_size: int = 1) -> None:
        """Write and report results as they come, one per item of `todo`.

        Args:
            answers: Every item with its result, or with the error that says why it has none.
            batch_size: After so many results a signal may end the run.

        Raises:
            OutputError: Results cannot be written.
            Interrupted: A signal came.
        """
        with self.guarded(), self.progress(len(self.todo)) as bar, Writer(self._write) as writer:
            try:
                with bar.waiting(FIRST) as come:
                    results = 0
                    for item, answer in answers:
                        come()
                        writer.put(item, answer)
                        self._report_finished(writer, AHEAD if self.outputs is not None else 0)
                        results += not isinstance(answer, Exception)
                        if results % batch_size == 0:
                            signals.check()
            except BaseException:
                if not writer.failed:  # what was computed is kept, whatever ends the run
                    self._report_finished(writer, 0)
                raise
            self._report_finished(writer, 0)
            signals.check()

    def _report_finished(self, writer: Writer[R, Kept], most: int) -> None:
        """Report the results that are written, in order, until at most so many are left."""
        for item, answer, kept in writer.finished(most):
            if isinstance(answer, Exception):
                self.record_failure(item, answer)
            elif kept is not None:
                self._tell_kept(item, answer, kept)
            if self._bar is not None:
                self._bar.step()

    def keep(self, item: Item, result: R, *, complete: bool = True) -> None:
        """Write the files of a result and report it.

        A format that cannot be written is a failure of the item; the others are there.

        Args:
            item: The input.
            result: The objects found in it.
            complete: False where the input could not be read to its end.
        """
        self._tell_kept(item, result, self._write(item, result, complete=complete), complete=complete)

    def _write(self, item: Item, result: R, *, complete: bool = True) -> Kept:
        """Write the files of a result, in whatever thread: nothing else writes meanwhile."""
        if self.outputs is None:
            return Kept([], [])
        written = self.outputs.write(item, result)
        trouble, self.outputs.trouble = self.outputs.trouble, []
        if trouble:
            written = [path for path in written if path.exists()]
        elif complete:
            self.outputs.finish(item, written)
        return Kept(written, trouble)

    def _tell_kept(self, item: Item, result: R, kept: Kept, *, complete: bool = True) -> None:
        self.report(item, result, kept.written, complete=complete and not kept.trouble)
        for error in kept.trouble:
            self.record_failure(item, error)

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Let signals wait for `signals.check` in the block, and end the run where it cannot write.

        Raises:
            OutputError: The block raised an `OSError`.
        """
        with signals.deferred():
            try:
                yield
            except signals.Interrupted:
                if self.outputs is not None:
                    self.outputs.close()
                raise
            except BrokenPipeError:
                raise
            except OSError as error:
                self.abort(error)

    @contextlib.contextmanager
    def progress(self, total: int, unit: str | None = None) -> Iterator[Progress]:
        """Show how far the block has come.

        Args:
            total: Steps it will take.
            unit: What a step is called; an input's noun if it is not given.
        """
        with Progress(0 if self._quiet else total, unit or self.noun) as bar:
            self._bar = bar
            try:
                yield bar
            finally:
                self._bar = None

    def print(self, text: str) -> None:
        """Print on stdout.  When nobody reads it any more, files are still written."""
        if self._silent:
            return
        try:
            if self._bar is not None:
                self._bar.print(text, sys.stdout)
            else:
                print(text, flush=True)
        except BrokenPipeError:
            if self.outputs is None:
                raise
            self._silent = True

    def count(self, objects: int) -> None:
        """Count an input that is done and the objects found in it."""
        self.done += 1
        self.objects += objects

    def report(self, item: Item, result: R, written: Sequence[Path], *, complete: bool = True) -> None:
        """Count a result and print its description.

        Args:
            item: The input.
            result: The objects found in it.
            written: The files of the result.
            complete: False where the input could not be read to its end: such a result is not
                counted.
        """
        if complete:
            self.count(len(result))
        if (text := self._describe(item, result, written)) is not None:
            self.print(text)

    def record_failure(self, item: Item, error: Exception) -> None:
        """Say on stderr why an input has no result; the others go on.

        Args:
            item: The input.
            error: Why; it is named unless its message begins with its name.
        """
        if item not in self.failed:
            self.failed.append(item)
        text = explain(error)
        if not str(error).startswith((display_path(item.path), item.path.name)):
            text = f"{display_path(item.path)}: {text}"
        if self._bar is not None:
            self._bar.print(f"gsam: {text}")
        else:
            tell(f"gsam: {text}")

    def abort(self, error: OSError) -> NoReturn:
        """End the run: the disk is full, or something like it.

        Raises:
            OutputError: Always.
        """
        what = f": {error.filename}" if error.filename else ""
        raise OutputError(f"cannot write{what}: {error.strerror or error}") from None

    def finish(self) -> None:
        """Write the file that the run has as a whole, and sum up on stderr.

        A run of one input that did not fail needs no summary.
        """
        whole = None
        if self.outputs is not None:
            with self.outputs.attempt():
                whole = self.outputs.close()
            for error in self.outputs.trouble:
                self.whole_failed = True
                tell(f"gsam: {explain(error)}")
        if self._quiet:
            return
        if len(self.items) > 1 or self.failed:
            seconds = time.monotonic() - self._began
            parts = [f"{self.done} of {len(self.items)} {self.noun}s, {self.objects} objects, {seconds:.1f} s"]
            if skipped := len(self.items) - len(self.todo):
                parts.append(f"{skipped} were done before")
            if self.failed:
                parts.append(f"{len(self.failed)} failed: {', '.join(display_path(i.path) for i in self.failed)}")
            if self.outputs is not None:
                parts.append(f"results in {self.outputs.folder}")
            tell("gsam: " + "; ".join(parts))
        if whole is not None and not self._as_json:
            tell(f"gsam: {whole}")
