"""The code of docs/python.md runs, as far as it goes without a cluster: jobs are stood in for, all else is real."""

import contextlib
import importlib
import logging
from types import SimpleNamespace

import openai
import pytest
from code_blocks import ROOT, code_blocks

from hydra_ray import api
from hydra_ray.learn.collect.report import CollectReport
from hydra_ray.learn.heads.job import FitReport
from hydra_ray.learn.train.job import TrainReport

BLOCKS = code_blocks("docs/python.md")


def run(code):
    exec(compile(code, "<docs/python.md>", "exec"), {"__name__": "copied"})


def block(holding):
    """The one block that has these words."""
    (found,) = (code for code in BLOCKS if holding in code)
    return found


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What jobs were given, by the name of the function; each tells its listener of a bar that gets full."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings.yaml").write_text("seed: 3\n")
    (tmp_path / "tune_configs").symlink_to(ROOT / "tune_configs")
    given = {}
    interval = SimpleNamespace(value=0.75)
    task = SimpleNamespace(task="demo", metrics=("accuracy",), methods={"hydra": {"accuracy": interval}})
    reports = {
        "learn.collect.job.collect_feedback": CollectReport(examples=10),
        "learn.train.job.train_base": TrainReport("v1", 3, [], {}, "production"),
        "learn.heads.job.fit_users": FitReport(5, {}, {}, None),
        "learn.tune.job.tune_users": {"adapter": SimpleNamespace(results={"everyone": None})},
        "evaluate.run.evaluate": SimpleNamespace(tasks=[task]),
    }
    for place, report in reports.items():
        module, _, function = f"hydra_ray.{place}".rpartition(".")

        def job(settings, *args, function=function, report=report, **options):
            *more, listener = args
            given[function] = settings, *more
            listener.heading(f"{function} begins")
            with listener.bars() as bars:
                known, unknown = bars.add_task("Asking", total=None), bars.add_task("Reading", total=4, completed=1)
                bars.update(known, total=8, note="8 queries")
                for _ in range(8):
                    bars.update(known, advance=1)
                bars.update(unknown, completed=2, note="2 left")
            return report

        monkeypatch.setattr(importlib.import_module(module), function, job)
    return given


def test_the_page_has_code_for_all_that_it_tells_of():
    assert len(BLOCKS) == 6


def test_the_whole_flow(asked, capsys):
    run(BLOCKS[0])
    assert list(asked) == ["collect_feedback", "train_base", "fit_users", "evaluate"]
    assert asked["fit_users"][0].users == "dev"
    assert capsys.readouterr().out.splitlines() == ["base v1, heads of 5 users", "demo hydra 0.75"]


def test_settings_of_plain_values():
    found = {"__name__": "copied"}
    exec(block("parse_settings"), found)
    assert found["settings"].generator.model == "your-model"


def test_a_search(asked, capsys):
    run(block("load_search"))
    settings, search = asked["tune_users"]
    assert (settings.users, bool(search.space)) == ("dev", True)
    assert capsys.readouterr().out == "adapter ['everyone']\n"


def test_serving(asked, monkeypatch, capsys):
    seen = []

    @contextlib.contextmanager
    def serving(settings, host, port):
        yield f"http://{host}:{port}/v1"

    def create(**request):
        seen.append(request)
        return SimpleNamespace(choices=[SimpleNamespace(message=SimpleNamespace(content="Yes!"))])

    def client(base_url, api_key):
        seen.append(base_url)
        return SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create)))

    monkeypatch.setattr(importlib.import_module("hydra_ray.serve.local"), "serving", serving)
    monkeypatch.setattr(openai, "OpenAI", client)
    run(block("api.serve"))
    assert (seen[0], seen[1]["user"], capsys.readouterr().out) == ("http://127.0.0.1:8000/v1", "u1", "Yes!\n")


def test_progress_on_a_terminal(asked, capsys):
    run(block("TerminalProgress"))
    shown = capsys.readouterr().out
    assert "train_base begins" in shown
    assert "8/8" in shown


def test_a_listener_of_ones_own_hears_headings_and_bars(asked, caplog):
    with caplog.at_level(logging.INFO, logger="nightly"):
        run(block("class LoggedProgress"))
    told = [record.getMessage() for record in caplog.records]
    assert told[0] == "collect_feedback begins"
    assert [line.split(":")[1].strip() for line in told if line.startswith("Asking")] == [
        f"{share} %" for share in (10, 20, 30, 50, 60, 70, 80, 100)
    ]
    assert told[-1] == "Reading: 50 % 2 left"


def test_the_table_has_every_function():
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    listed = {line.split("`")[1].partition("(")[0] for line in page.splitlines() if line.startswith("| `")}
    assert listed == {name for name, found in vars(api).items() if getattr(found, "__module__", "") == api.__name__}
