"""Listeners of jobs: the silent one, the terminal's, and one of a caller's own, all called in the same ways."""

import io

import pytest
from rich.console import Console

from hydra_ray.progress import SILENT
from hydra_ray.terminal import TerminalProgress


@pytest.fixture
def screen():
    return io.StringIO()


@pytest.fixture
def terminal(screen):
    # A terminal of fixed size, whatever runs the tests.
    return TerminalProgress(Console(file=screen, force_terminal=True, width=120, color_system=None))


@pytest.fixture(params=["silent", "terminal"])
def listener(request):
    return SILENT if request.param == "silent" else request.getfixturevalue("terminal")


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"total": 4},
        {"completed": 2.5},
        {"advance": 1},
        {"note": "3 heads"},
        {"total": 4, "completed": 3, "note": "3 heads"},
        {"total": 4, "advance": 0.5, "note": ""},
    ],
    ids=lambda change: "-".join(change) or "nothing",
)
@pytest.mark.parametrize(
    "begun",
    [{"total": None}, {"total": 7}, {"total": 2.5, "completed": 1}, {"total": 7, "completed": 2, "note": "2 heads"}],
    ids=lambda begun: "-".join(begun),
)
def test_a_listener_takes_all_calls_of_the_protocol(listener, begun, change):
    listener.heading("Task [LaMP_2M], seed 1")
    with listener.bars() as bars:
        first = bars.add_task("Asking the LLM", **begun)
        second = bars.add_task("Fitting", **begun)
        bars.update(first, **change)
        bars.update(second, **change)
        bars.update(first, **change)


def test_a_terminal_shows_headings_bars_counts_and_notes_as_they_are(terminal, screen):
    terminal.heading("Task [LaMP_2M]")
    with terminal.bars() as bars:
        asking = bars.add_task("Asking [u1]", total=7, completed=2)
        bars.update(asking, advance=3, note="[5 answered]")
    shown = screen.getvalue()
    assert "Task [LaMP_2M]" in shown
    *_, last = (line for line in shown.splitlines() if "Asking" in line)
    assert [part for part in ("Asking [u1]", "5/7", "[5 answered]") if part in last] == [
        "Asking [u1]",
        "5/7",
        "[5 answered]",
    ]


def test_what_is_not_said_stays_as_it_is(terminal):
    with terminal.bars() as bars:
        asking = bars.add_task("Asking", total=7, completed=2, note="cached")
        bars.update(asking, completed=4)
        bars.update(asking, total=9)
    (task,) = bars.tasks
    assert (task.completed, task.total, task.fields["note"]) == (4, 9, "cached")


def test_a_silent_listener_writes_nothing(capfd):
    SILENT.heading("Task LaMP_2M")
    with SILENT.bars() as bars:
        bars.update(bars.add_task("Asking", total=1), advance=1)
    assert capfd.readouterr() == ("", "")
