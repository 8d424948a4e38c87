"""What is logged and how: one line a cause, as text or JSON, and not again and again."""

import io
import json
import logging

import pytest
from rich.console import Console
from rich.file_proxy import FileProxy

from hydra_ray import logs
from hydra_ray.logs import set_up_logging
from hydra_ray.methods.ports import StepError
from hydra_ray.settings import LoggingSettings, SettingsError, parse_settings

log = logging.getLogger("hydra_ray.somewhere")


@pytest.fixture(autouse=True)
def as_before():
    root = logging.getLogger("hydra_ray")
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.getLogger().manager._clear_cache()


@pytest.fixture
def clock(monkeypatch):
    """Seconds that tests set."""
    now = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    return now


def caused():
    try:
        try:
            raise ConnectionError("no route\nto host")
        except ConnectionError as error:
            raise StepError("the adapter gave no answer") from error
    except StepError as error:
        return error


def test_a_message_is_one_line_with_all_its_causes(capsys):
    set_up_logging(LoggingSettings())
    log.warning("the adapter failed, answering by votes", exc_info=caused())
    log.info("not at this level")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(
        "WARNING hydra_ray.somewhere: the adapter failed, answering by votes: StepError: the adapter gave no answer: "
        "ConnectionError: to host"
    )


def test_at_level_debug_there_are_tracebacks(capsys):
    set_up_logging(LoggingSettings(level="debug"))
    log.warning("failed", exc_info=caused())
    assert "Traceback" in capsys.readouterr().err


def test_lines_of_json_say_the_same(capsys):
    set_up_logging(LoggingSettings(json_lines=True))
    log.warning("failed for %s", "ann", exc_info=caused())
    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert (told["level"], told["logger"], told["message"]) == ("WARNING", "hydra_ray.somewhere", "failed for ann")
    assert "StepError: the adapter gave no answer" in told["exc_info"]
    assert told["time"]


def test_alike_messages_are_written_once_in_a_while_with_how_many_there_were(capsys, clock):
    set_up_logging(LoggingSettings())
    for number in range(50):
        log.warning("a call was not answered: %s", number)
    log.warning("something else")
    log.warning("Retrying in 0.25 seconds")
    log.warning("Retrying in 1 seconds")
    clock[0] += logs._EVERY_S
    log.warning("a call was not answered: %s", 50)
    first, other, retried, last = capsys.readouterr().err.splitlines()
    assert first.endswith("not answered: 0")
    assert other.endswith("something else")
    assert retried.endswith("Retrying in 0.25 seconds")
    assert last.endswith("not answered: 50 (49 alike were not written since the last)")


def test_set_up_again_writes_each_message_once_and_in_the_new_way(capsys):
    set_up_logging(LoggingSettings())
    set_up_logging(LoggingSettings(json_lines=True, level="info"))
    log.info("hello")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"] == "hello"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("below", "json_lines", "above_the_bar"),
    [(Terminal(), False, True), (Terminal(), True, False), (io.StringIO(), False, False)],
    ids=["terminal", "JSON on a terminal", "a file"],
)
def test_with_a_progress_bar_text_goes_above_it_and_all_else_where_stderr_goes(
    monkeypatch, below, json_lines, above_the_bar
):
    drawn = io.StringIO()
    monkeypatch.setattr(logs.sys, "stderr", FileProxy(Console(file=drawn), below))
    set_up_logging(LoggingSettings(json_lines=json_lines))
    log.warning("hello")
    assert ("hello" in drawn.getvalue()) == above_the_bar
    assert ("hello" in below.getvalue()) != above_the_bar


def test_levels_are_checked_and_runs_do_not_depend_on_them():
    assert parse_settings({"logging": {"level": "info"}}).logging.level == "info"
    with pytest.raises(SettingsError, match=r"logging\.level"):
        parse_settings({"logging": {"level": "loud"}})
