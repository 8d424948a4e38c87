"""Which runs a comparison is made of."""

import json
from collections import Counter

import pytest

from hydra_ray.evaluate.run import _jobs
from hydra_ray.evaluate.runner import experiments as module
from hydra_ray.evaluate.runner.experiments import _fingerprint_of, _whole, experiments, prepare
from hydra_ray.learn.collect.report import CollectReport
from hydra_ray.learn.heads.job import FitReport
from hydra_ray.progress import SILENT
from hydra_ray.records import HydraError
from hydra_ray.settings import parse_settings
from hydra_ray.steps.generate.failures import Failure, UnfinishedError


def tree(**evaluate):
    return parse_settings({"out": "runs/c", "seed": 5, "data": {"dir": "lamp", "task": "LaMP_3"}, "evaluate": evaluate})


def test_without_lists_the_base_that_settings_name_is_judged():
    settings = tree()
    (experiment,) = experiments(settings)
    assert (experiment.settings, experiment.prepared, experiment.seed) == (settings, False, 5)


def test_each_task_has_each_seed_and_the_numbers_of_users_with_the_first():
    found = list(experiments(tree(tasks=["LaMP_4", "LaMP_5"], seeds=[1, 2], train_users=[10])))
    assert [(c.settings.data.task, c.seed, c.train_users) for c in found] == [
        ("LaMP_4", 1, None),
        ("LaMP_4", 2, None),
        ("LaMP_4", 1, 10),
        ("LaMP_5", 1, None),
        ("LaMP_5", 2, None),
        ("LaMP_5", 1, 10),
    ]
    assert all(experiment.prepared for experiment in found)


def test_seeds_share_feedback_and_answers_but_no_base():
    one, other = experiments(tree(seeds=[1, 2]))
    assert one.settings.feedback_dir == other.settings.feedback_dir
    assert one.settings.answers_dir == other.settings.answers_dir
    assert one.settings.model_dir != other.settings.model_dir
    assert one.settings.store_url != other.settings.store_url
    assert one.settings.seed == other.settings.seed == 5, "data and LLM answers stay"


def test_tasks_without_a_folder_of_them_are_refused():
    with pytest.raises(HydraError, match=r"evaluate\.tasks: only data\.format lamp"):
        list(experiments(parse_settings({"data": {"format": "simulated"}, "evaluate": {"tasks": ["demo"]}})))


@pytest.mark.parametrize(
    ("workers", "expected"),
    [
        (1, [("LaMP_3", 1, ("rag", "hydra")), ("LaMP_3", 2, ("hydra",)), ("LaMP_3", 1, ("hydra",))]),
        (2, [("LaMP_3", 1, ("rag",)), ("LaMP_3", 1, ("hydra",)), ("LaMP_3", 2, ("hydra",)), ("LaMP_3", 1, ("hydra",))]),
    ],
)
def test_what_does_not_depend_on_training_is_answered_once_a_task(workers, expected):
    planned = list(experiments(tree(seeds=[1, 2], train_users=[10])))
    jobs = list(_jobs(planned, ("rag", "hydra"), workers))
    assert [(job.experiment.settings.data.task, job.experiment.seed, job.methods) for job in jobs] == expected
    assert jobs[-1].runs == ("hydra",), "fewer training users are a point of a curve, without controls"
    assert jobs[-2].runs == ("hydra", "shared-head", "other-head")


def test_a_base_is_trained_anew_where_settings_or_records_of_training_changed(tmp_path):
    data = {"format": "records", "path": str(tmp_path / "r.jsonl"), "dev_share": 0.01}

    def mark(output="yes", **sections):
        rows = [
            {"user_id": f"u{n}", "input": f"q{n} {m}", "output": output, "ts": f"200{m}"}
            for n in (1, 2)
            for m in (1, 2)
        ]
        (tmp_path / "r.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        return _fingerprint_of(parse_settings({"data": data, **sections}))

    first = mark()
    assert mark(data={**data, "split": "dev"}, fit={"steps": 3}, out="elsewhere", feedback={"askers": 2}) == first
    assert mark(base={"checkpoints": "s3://bucket/training"}) == first
    changed = [
        mark(base={"epochs": 9}),
        mark(method={"shots": 1}),
        mark(feedback={"own_answers": 3}),
        mark(generator={"model": "other"}),
        mark(output="no"),
        mark(data={**data, "max_users": 1}),
    ]
    assert len({first, *changed}) == 7


# A training of so many epochs is killed at its end.
DEADLY = 13


@pytest.fixture
def steps(monkeypatch):
    """What a preparation did, without doing it; feedback is whole until `stopped` says why not."""
    done, stopped = [], []

    def collect(settings, console):
        done.append("collect")
        return CollectReport(stopped="".join(stopped))

    def train(settings, console):
        settings.model_dir.mkdir(parents=True, exist_ok=True)
        done.append(f"train {settings.base.epochs}")
        if settings.base.epochs == DEADLY:
            raise KeyboardInterrupt

    def fit(settings, console, replace_histories):
        assert replace_histories, "an experiment is about its records alone"
        done.append(f"fit {settings.users}")
        return FitReport(0, {}, {}, None)

    for name, step in (("collect_feedback", collect), ("train_base", train), ("fit_users", fit)):
        monkeypatch.setattr(module, name, step)
    return done, stopped


def prepared(out, epochs=4):
    data = {"format": "simulated", "task": "demo", "split": "dev", "train_users": 2, "dev_users": 2, "history": 2}
    tree = parse_settings({"out": str(out), "data": data, "base": {"epochs": epochs}, "evaluate": {"seeds": [0]}})
    for experiment in experiments(tree):
        prepare(experiment, SILENT)


def test_a_preparation_trains_only_where_it_has_not_or_where_something_changed(steps, tmp_path):
    done, _ = steps
    prepared(tmp_path)
    assert done == ["collect", "train 4", "fit dev"]
    prepared(tmp_path)
    assert done[3:] == ["fit dev"]
    prepared(tmp_path, epochs=5)
    assert done[4:] == ["collect", "train 5", "fit dev"]


def test_after_a_killed_training_not_even_the_settings_before_are_taken_to_be_done(steps, tmp_path):
    done, _ = steps
    prepared(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        prepared(tmp_path, epochs=DEADLY)
    prepared(tmp_path)
    assert done[-3:] == ["collect", "train 4", "fit dev"]


def test_a_preparation_that_ran_out_of_calls_trains_when_it_is_started_again(steps, tmp_path):
    done, stopped = steps
    stopped.append("limits.calls is spent")
    with pytest.raises(HydraError, match=r"limits\.calls is spent"):
        prepared(tmp_path)
    assert done == ["collect"]
    stopped.clear()
    prepared(tmp_path)
    assert done[1:] == ["collect", "train 4", "fit dev"]


def test_training_on_feedback_that_ended_early_is_refused():
    stopped = CollectReport(examples=3, left=2, stopped="limits.calls is spent")
    with pytest.raises(HydraError, match=r"2 queries left: limits\.calls is spent\. Raise generator\.limits"):
        _whole(stopped)
    _whole(CollectReport(examples=3))
    unfinished = CollectReport(examples=3, unfinished=1, failed=Counter({Failure("server", "HTTP 503"): 2}))
    with pytest.raises(UnfinishedError, match=r"2 server \(most often: HTTP 503\)"):
        _whole(unfinished)
