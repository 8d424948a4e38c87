"""Files that are written as a whole or not at all."""

import os
import stat
from multiprocessing import get_context
from pathlib import Path

import pytest

from hydra_ray.atomic import replacing, write_text


def test_a_file_and_its_folders_are_made(tmp_path):
    path = tmp_path / "new" / "folder" / "one.json"
    write_text(path, "größer")
    assert path.read_text(encoding="utf-8") == "größer"
    assert os.listdir(path.parent) == ["one.json"]


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "one.json"
    write_text(path, "old")
    with replacing(path) as partial, partial.open("w") as file:
        file.write("ne")
        file.flush()
        assert path.read_text() == "old"
        file.write("w")
    assert path.read_text() == "new"


def break_off(path, error):
    with replacing(path) as partial:
        partial.write_text("half of it")
        raise error


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_write_that_breaks_off_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "one.json"
    write_text(path, "old")
    with pytest.raises(type(error)):
        break_off(path, error)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["one.json"]


def test_a_replacement_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def refuse(*paths):
        raise OSError("disk is gone")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OSError, match="disk is gone"):
        write_text(tmp_path / "one.json", "new")
    assert os.listdir(tmp_path) == []


def test_no_two_writers_share_a_temporary_file(tmp_path):
    path = tmp_path / "one.json"
    with replacing(path) as first, replacing(path) as second:
        first.write_text("first")
        second.write_text("second")
    # The outer block ends last.
    assert path.read_text() == "first"
    assert os.listdir(tmp_path) == ["one.json"]


def test_processes_that_write_at_once_leave_the_file_of_one_of_them(tmp_path):
    path = tmp_path / "one.json"
    writers = [get_context("spawn").Process(target=_write_often, args=(path, sign)) for sign in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert path.read_text() in ("a" * 100_000, "b" * 100_000)
    assert os.listdir(tmp_path) == ["one.json"]


def _write_often(path: Path, sign: str) -> None:
    for _ in range(50):
        write_text(path, sign * 100_000)


def test_the_file_may_be_read_by_whom_the_umask_lets(tmp_path):
    before = os.umask(0o022)
    try:
        write_text(tmp_path / "one.json", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "one.json").stat().st_mode) == 0o644
