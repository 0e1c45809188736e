"""The command line.  Each command lives in its own file and is imported when it is called.

Exit codes: 0 done (nothing found included), 1 failed, 2 usage, 3 some inputs failed, 4 no file
matched, 130 and 143 for SIGINT and SIGTERM.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import io
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any, NoReturn, TextIO

import typer
from typer.core import TyperGroup

from gsam.dataset.report import tell
from gsam.dataset.signals import Interrupted, listen
from gsam.errors import GsamError, ImageError, QueryError, UsageError

COMMANDS = {
    "segment": "Find objects by their names: images and words in, masks out.",
    "everything": "Find everything: images in, every mask out.",
    "track": "Track objects by their names: videos and words in, tracks out.",
    "label": "Label a data set: any number of images, processes and machines.",
    "eval": "Score found masks, or a pipeline, beside true ones: AP, IoU, cgF1.",
    "serve": "Serve words, clicks and videos over HTTP, with a page and for labelling tools.",
    "geo": "Find objects in GeoTIFFs of any size, with their places on Earth.",
    "convert": "Write a data set of labelled images in another format.",
    "data": "Look at a data set before training: every fault, by kind.",
    "train": "Train a model on your own masks, boxes or names.",
    "distil": "Teach a small image encoder what a large one sees.",
    "export": "Write a pipeline as programs that run without the models' code.",
    "recipes": "List the recipes: models, size, licence, and whether they are here.",
    "weights": "List, fetch, convert and check model weights.",
    "doctor": "Say what is installed and whether it works.",
}


class NobodyReads(BaseException):
    """Stdout was closed.  Not an `Exception`, which Typer would take for its own."""


@contextlib.contextmanager
def readers() -> Iterator[None]:
    """Raise `NobodyReads` where the block writes to a stdout that was closed."""
    try:
        yield
    except BrokenPipeError:
        raise NobodyReads from None


class Commands(TyperGroup):
    """A group that imports ``gsam.cli.<name>`` when ``<name>`` is called, not for ``--help``."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        with readers():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        with readers():
            return super().invoke(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            near = difflib.get_close_matches(cmd_name, COMMANDS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            ctx.fail(f"no command {cmd_name!r}{hint} There are {', '.join(COMMANDS)}.")
        command = typer.main.get_command(importlib.import_module(f"gsam.cli.{cmd_name}").app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = typer.Typer(cls=Commands, add_completion=True, rich_markup_mode=None, pretty_exceptions_enable=False)


def _version(wanted: bool) -> None:
    if wanted:
        from gsam.version import __version__

        typer.echo(f"gsam {__version__}")
        raise typer.Exit


@app.callback(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
def root(
    version: bool = typer.Option(False, "--version", "-V", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Text query in, labelled masks out.

    gsam segment photo.jpg -q "cat. yellow school bus" -o out

    The models for photographs are fetched once, 1.1 GB; `-p nano` needs no download and knows
    drawings of everyday things.
    """


def main() -> NoReturn:
    """Run the command line and exit with the code of what happened."""
    listen()
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # the same bytes whatever the locale, whatever a file is called
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    warnings.showwarning = _warn
    try:
        app(prog_name="gsam")
        code = 0
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else 1
    except Interrupted as stop:
        code = stop.code
    except GsamError as error:
        tell(f"gsam: {error} [{error.code}]")
        code = 2 if isinstance(error, UsageError | QueryError) else 3 if isinstance(error, ImageError) else 1
    except (BrokenPipeError, NobodyReads):
        code = 0
    except Exception as error:
        _unexpected(error)
        code = 1
    sys.exit(_close(code))


def _open_streams() -> None:
    """Open what was closed when the process began, so that no file of ours gets its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115


def _unexpected(error: Exception) -> None:
    """Print one line about what is no fault of the input: the system's, or gsam's own.

    ``GSAM_TRACEBACK=1`` shows where.
    """
    if os.environ.get("GSAM_TRACEBACK") == "1":
        import traceback

        traceback.print_exception(error)
    elif isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        tell(f"gsam: {where}{error.strerror} [system]")
    else:
        text = " ".join([f"{type(error).__name__}:", *str(error).split()[:60]])
        tell(f"gsam: {text} [internal]; run with GSAM_TRACEBACK=1 for details")


def _close(code: int) -> int:
    """Flush stdout and stderr, and give the exit code.

    Where nobody reads them any more, nothing is said of it, nor by the interpreter's last flush.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return code


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    tell(f"warning: {' '.join(str(message).split())}")
