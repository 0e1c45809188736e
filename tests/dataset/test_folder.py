"""One run per folder, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gsam.dataset.folder import LOCK, new_folder, output_folder, sweep
from gsam.dataset.lock import hold
from gsam.errors import UsageError
from gsam.files import PARTIAL


def refused(path: Path) -> str:
    with pytest.raises(UsageError) as caught, output_folder(path):
        raise AssertionError("held")
    return caught.value.code


def test_a_folder_is_made_and_left_clean(tmp_path: Path) -> None:
    with output_folder(tmp_path / "a" / "b") as folder:
        assert [p.name for p in folder.iterdir()] == [LOCK]
        (folder / "result").touch()
    assert [p.name for p in folder.iterdir()] == ["result"]


def test_a_folder_that_was_made_for_nothing_goes_again(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for _ in range(2):
        with output_folder(tmp_path / "there" / "a" / "b"):
            pass
        assert list((tmp_path / "there").iterdir()) == []
    with output_folder(tmp_path / "there"):  # it was not made
        pass
    assert (tmp_path / "there").is_dir()


def test_what_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refused(tmp_path / "file") == "output_not_a_folder"
    assert refused(tmp_path / "file" / "sub") == "output_not_writable"
    assert refused(Path(os.sep)) == "output_root"


def test_one_run_holds_a_folder(tmp_path: Path) -> None:
    with output_folder(tmp_path):
        assert refused(tmp_path) == "output_locked"
        with pytest.raises(UsageError, match=rf"locked by another run \(pid {os.getpid()}\)"), hold(tmp_path / LOCK):
            pass
    with output_folder(tmp_path):
        pass


def test_an_error_lets_go(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), output_folder(tmp_path):
        raise RuntimeError
    with output_folder(tmp_path):
        pass


def test_the_lock_of_a_killed_run_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("123")
    with output_folder(tmp_path):
        assert (tmp_path / LOCK).read_text() == str(os.getpid())


def test_unfinished_files_are_removed(tmp_path: Path) -> None:
    for name in (".gsam-abc.png", "a.png", "sub"):
        (tmp_path / name).touch()
    sweep([tmp_path, tmp_path / "no such folder"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "sub"]


def test_a_folder_that_is_made_as_a_whole(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "art"
    with new_folder(place) as path:
        with pytest.raises(UsageError, match="art is locked by another run") as caught, new_folder(place):
            raise AssertionError("held")
        assert caught.value.code == "output_locked"
        path.mkdir()
    assert [p.name for p in place.parent.iterdir()] == ["art"]
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for there in (place, tmp_path / "file", tmp_path / "link"):
        with pytest.raises(UsageError, match="exists already") as caught, new_folder(there):
            raise AssertionError("held")
        assert caught.value.code == "output_exists"
    with pytest.raises(UsageError) as caught, new_folder(tmp_path / "file" / "art"):
        raise AssertionError("held")
    assert caught.value.code == "output_not_writable"


def test_what_killed_runs_left_of_a_folder_is_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for name in (f".a[t.{dead.pid}", f".a[t.{os.getpid()}", ".a[t.mine", f".other.{dead.pid}"):
        (tmp_path / f"{name}{PARTIAL}").mkdir()
    with new_folder(tmp_path / "a[t"):
        pass
    left = sorted(p.name for p in tmp_path.iterdir())
    assert left == sorted(f"{n}{PARTIAL}" for n in (f".a[t.{os.getpid()}", ".a[t.mine", f".other.{dead.pid}"))


def test_a_process_of_one_run_may_hold_its_folder_until_it_ends(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from gsam.dataset.lock import hold_until_exit\n"
        "from gsam.dataset.folder import output_folder\n"
        "hold_until_exit(); hold_until_exit()\n"
        "for _ in range(2):\n"
        "    with output_folder(Path('out')): pass\n"
        "print('done', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"
    assert refused(tmp_path / "out") == "output_locked"
    process.communicate(timeout=60)
    assert not (tmp_path / "out").exists()  # nothing was written
