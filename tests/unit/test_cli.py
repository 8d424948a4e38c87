"""What commands hand on beyond the settings that they are given."""

import io
import json
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from typer.testing import CliRunner

import hydra_ray.evaluate.run
from hydra_ray import stopping
from hydra_ray.cli import app, main
from hydra_ray.evaluate.results import ComparisonResult
from hydra_ray.records import HydraError
from hydra_ray.steps.generate.failures import UnfinishedError


@pytest.fixture
def evaluated(monkeypatch):
    """Settings that evaluations were asked for."""
    found = []
    monkeypatch.setattr(
        hydra_ray.evaluate.run,
        "evaluate",
        lambda settings, console: found.append(settings) or ComparisonResult((), None),
    )
    return found


@pytest.mark.parametrize(
    ("told", "seeds", "tasks"),
    [
        ({}, (5,), ()),
        ({"seeds": [1, 2]}, (1, 2), ()),
        ({"tasks": ["LaMP_4"]}, (), ("LaMP_4",)),
    ],
)
def test_a_papers_comparison_trains_by_its_own_recipe(evaluated, tmp_path, told, seeds, tasks):
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump({"seed": 5, "base": {"epochs": 7}, "evaluate": told}))
    done = CliRunner().invoke(app, ["reproduce", "hydra", str(path), "data.split=dev"])
    assert done.exit_code == 0, done.output
    (settings,) = evaluated
    assert (settings.evaluate.seeds, settings.evaluate.tasks) == (seeds, tasks), (
        "else a base that is there would answer"
    )
    assert (settings.preset, settings.base.loss, settings.data.split) == ("paper", "bce", "dev")
    assert settings.base.epochs == 7, "the user's own file goes over the recipe"


def ended(monkeypatch, tmp_path, capsys, error):
    """How a command ends that meets an error."""

    def fail(settings, console):
        raise error

    monkeypatch.setattr(hydra_ray.evaluate.run, "evaluate", fail)
    path = tmp_path / "s.yaml"
    path.write_text("seed: 5\n")
    monkeypatch.setattr(sys, "argv", ["hydra-ray", "evaluate", str(path)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code, capsys.readouterr().err


def test_exit_codes_tell_what_is_to_be_mended_from_what_goes_on_by_itself(monkeypatch, tmp_path, capsys):
    told = "error: 3 [requests] were not answered\n"
    error = UnfinishedError("3 [requests] were not answered")
    assert ended(monkeypatch, tmp_path, capsys, error) == (3, told)
    error = HydraError("3 [requests] were not answered")
    assert ended(monkeypatch, tmp_path, capsys, error) == (1, told)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_one_line_and_its_exit_code(monkeypatch, tmp_path, capsys, number):
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}

    def stop(settings, console):
        os.kill(os.getpid(), number)
        raise AssertionError("it went on")

    # Else the process would be ended for good some seconds later.
    monkeypatch.setattr(stopping.threading, "Timer", lambda *_: SimpleNamespace(start=lambda: None))
    monkeypatch.setattr(stopping, "leave", sys.exit)
    monkeypatch.setattr(hydra_ray.evaluate.run, "evaluate", stop)
    path = tmp_path / "s.yaml"
    path.write_text("seed: 5\n")
    monkeypatch.setattr(sys, "argv", ["hydra-ray", "evaluate", str(path)])
    with pytest.raises(SystemExit) as left:
        main()
    ignored = signal.getsignal(signal.SIGINT)
    for each, handler in before.items():
        signal.signal(each, handler)
    assert left.value.code == 128 + number
    assert capsys.readouterr().err == "Stopped. The same command goes on where it was.\n"
    assert ignored == signal.SIG_IGN, "a second Ctrl-C does not break off the end"


def test_handlers_are_as_they_were_after_a_command(tmp_path, monkeypatch):
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    monkeypatch.setattr(sys, "argv", ["hydra-ray", "settings", "seed"])
    with pytest.raises(SystemExit):
        main()
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_words_that_a_terminal_lacks_are_printed_escaped(tmp_path, monkeypatch):
    answers = ["süß", "悲しい"] * 4
    records = [{"user_id": "u", "input": "how?", "output": answer, "ts": n} for n, answer in enumerate(answers)]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, records)))
    data = {"format": "records", "path": str(tmp_path / "r.jsonl"), "labels": answers[:2], "dev_share": 1e-9}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"data": data}))
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="ascii", write_through=True))
    monkeypatch.setattr(sys, "argv", ["hydra-ray", "data", "describe", str(tmp_path / "s.yaml")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert rb"s\xfc\xdf (" in printed.getvalue()


def test_a_fit_replaces_and_undeletes_only_where_it_is_told_to(monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr("hydra_ray.commands.fit.fit_lines", lambda _, __, *more: given.append(more) or ["[all] done"])
    (tmp_path / "s.yaml").write_text("seed: 5\n")
    for more in ([], ["--replace", "--undelete", "back.txt"]):
        done = CliRunner().invoke(app, ["fit", str(tmp_path / "s.yaml"), "users=dev", *more])
        assert (done.exit_code, done.output) == (0, "[all] done\n"), done.output
    assert given == [(False, None), (True, Path("back.txt"))]
