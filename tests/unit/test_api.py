"""The Python API: each function hands settings and listener to its job and returns the job's report."""

import importlib
import inspect
import subprocess
import sys
from contextlib import contextmanager

import pytest
from running import free_port

from hydra_ray import api
from hydra_ray.progress import SILENT, Silent
from hydra_ray.settings import parse_settings
from hydra_ray.steps.profiles.writer import KINDS

SETTINGS = parse_settings({"seed": 3})
SEARCH = object()
RECIPES = object()

# Where each job is, how it is asked for beside the settings, and what the job is then given besides the listener.
JOBS = {
    "collect": ("hydra_ray.learn.collect.job.collect_feedback", (), ()),
    "train": ("hydra_ray.learn.train.job.train_base", (), ()),
    "fit": ("hydra_ray.learn.heads.job.fit_users", (), (False,)),
    "tune": ("hydra_ray.learn.tune.job.tune_users", (SEARCH,), (SEARCH,)),
    "write_profiles": ("hydra_ray.learn.profiles.job.write_profiles", (("pag",),), (("pag",),)),
    "evaluate": ("hydra_ray.evaluate.run.evaluate", (), ()),
    "cross_validate": ("hydra_ray.evaluate.crossval.job.cross_validate", (RECIPES,), (RECIPES,)),
    "promote": ("hydra_ray.learn.promote.job.promote_version", ("v2",), ("v2", True)),
}


class Listener(Silent):
    """One of the caller's own."""


@pytest.fixture
def job(monkeypatch):
    """Puts another function in a job's place, which has its parameters and keeps what it is given."""

    def replace(name):
        place, _, function = JOBS[name][0].rpartition(".")
        module = importlib.import_module(place)
        signature = inspect.signature(getattr(module, function))
        given, report = {}, object()

        def fake(*args, **more):
            given.update(signature.bind(*args, **more).arguments)
            return report

        monkeypatch.setattr(module, function, fake)
        return given, report

    return replace


@pytest.mark.parametrize("name", list(JOBS))
def test_a_job_gets_settings_and_listener_and_its_report_comes_back(job, name):
    given, report = job(name)
    _, told, passed = JOBS[name]
    listener = Listener()
    assert getattr(api, name)(SETTINGS, *told, listener=listener) is report
    assert given.pop("settings") is SETTINGS
    assert given.pop("listener") is listener
    assert tuple(given.values()) == passed


@pytest.mark.parametrize("name", list(JOBS))
def test_who_gives_no_listener_is_shown_nothing(job, name):
    given, _ = job(name)
    getattr(api, name)(SETTINGS, *JOBS[name][1])
    assert given["listener"] is SILENT


def test_all_kinds_of_profiles_are_written_unless_some_are_named(job):
    given, _ = job("write_profiles")
    api.write_profiles(SETTINGS)
    assert given["kinds"] == tuple(KINDS)


def test_what_is_served_is_served_for_as_long_as_the_context_is_open(monkeypatch):
    local = importlib.import_module("hydra_ray.serve.local")
    seen = []

    @contextmanager
    def serving(settings, host, port):
        seen.append((settings, host, port))
        yield f"http://{host}:{port}/v1"
        seen.append("over")

    monkeypatch.setattr(local, "serving", serving)
    port = free_port()
    with api.serve(SETTINGS, port=port) as url:
        assert url == f"http://127.0.0.1:{port}/v1"
        assert seen == [(SETTINGS, "127.0.0.1", port)]
    assert seen[1:] == ["over"]


@pytest.mark.parametrize("fit", [True, False])
def test_who_rolls_back_has_heads_brought_up_to_date_unless_they_say_otherwise(monkeypatch, fit):
    from hydra_ray.learn.promote import job

    before, after = object(), object()
    monkeypatch.setattr(job, "roll_back", lambda settings: before)
    monkeypatch.setattr(job, "catch_up", lambda settings, done, listener: after if done is before else None)
    assert api.roll_back(SETTINGS, fit=fit) is (after if fit else before)


def test_no_job_is_left_out():
    public = {
        name for name, found in vars(api).items() if inspect.isfunction(found) and found.__module__ == api.__name__
    }
    assert public == {*JOBS, "roll_back", "serve"}


def test_importing_the_api_starts_neither_torch_nor_ray():
    code = "import sys, hydra_ray.api; print(sorted({'ray', 'torch', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
