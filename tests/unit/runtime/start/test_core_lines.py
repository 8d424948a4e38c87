"""What of stderr is kept while Ray starts."""

import os

import pytest

from hydra_ray.runtime.start.core_lines import without_core_lines

CORE = "[2026-11-28 18:15:47,721 I 12308 12308] logging.cc:303: Set ray log level from environment variable to 3\n"


def test_lines_of_the_core_are_left_out_and_others_are_kept(capfd):
    with without_core_lines():
        os.write(2, (CORE + "something that matters: a.cc:3: is one of its files\n").encode())
        assert capfd.readouterr().err == ""
    os.write(2, CORE.encode())
    said = capfd.readouterr().err
    assert "something that matters" in said
    assert said.count("logging.cc") == 1, "only while it starts"


def test_what_was_said_before_an_error_is_not_lost(capfd):
    def fail():
        with without_core_lines():
            os.write(2, b"no cluster there\n")
            raise ConnectionError

    with pytest.raises(ConnectionError):
        fail()
    assert capfd.readouterr().err == "no cluster there\n"
