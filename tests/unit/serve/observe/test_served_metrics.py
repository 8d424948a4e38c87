"""What is counted of requests, under which labels; the way of metrics to Prometheus is Ray's."""

from __future__ import annotations

import re

import pytest
from code_blocks import ROOT
from made_app import SAID, reranking
from ray.exceptions import RayError

from hydra_ray.records import Choice, GateDecision, Usage
from hydra_ray.serve.faults.breaker import Breakers
from hydra_ray.serve.observe import metrics as noted
from hydra_ray.serve.observe import names
from hydra_ray.serve.observe.counting import CountedRequests
from hydra_ray.serve.observe.metrics import Metrics
from hydra_ray.serve.observe.trace import RequestTrace, StepTime
from hydra_ray.steps.generate.prices import Prices
from hydra_ray.store.types import StoreError

PAGE = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")


@pytest.fixture
def served(served):
    return reranking(served)


class Series:
    """Stands in for one of Ray's metrics."""

    def __init__(self, name, meaning, *bounds, tag_keys):
        self.name, self.tag_keys = name, tag_keys
        self.values = {}
        MADE[name] = self

    def inc(self, value, tags):
        assert value > 0, "Ray refuses it"
        self.observe(self.values.get(self._key(tags), 0) + value, tags)

    def observe(self, value, tags):
        self.values[self._key(tags)] = value

    set = observe

    def _key(self, tags):
        assert set(tags) == set(self.tag_keys)
        return tuple(tags[key] for key in self.tag_keys)


MADE: dict[str, Series] = {}


@pytest.fixture(autouse=True)
def made(monkeypatch):
    """The metrics that were made, by name."""
    MADE.clear()
    for kind in ("Counter", "Gauge", "Histogram"):
        monkeypatch.setattr(noted.metrics, kind, Series)
    return MADE


def values(name):
    return MADE[name].values if name in MADE else {}


def down(*_):
    raise RayError("Traceback of the replica")


def test_requests_steps_heads_tokens_and_costs_are_counted(served):
    app = served(more={"generator": {"limits": {"price_in": 2, "price_out": 8}}})
    app.ask(SAID, user="ann")
    app.reranker.answer = down
    app.ask(SAID, user="ann", stream=True)
    app.ask([])
    assert values("hydra_requests") == {
        ("chat", "hydra", "200"): 2,
        ("chat", "none", "400"): 1,
    }
    assert set(values("hydra_step_seconds")) == {
        *((step, "answered") for step in ("preferences", "retriever", "reranker", "generator", "adapter")),
        ("reranker", "failed"),
    }
    assert values("hydra_degraded") == {("reranker",): 1}
    assert values("hydra_heads") == {("user",): 2}
    assert values("hydra_tokens") == {("acme", "in"): 20, ("acme", "out"): 4}
    assert values("hydra_cost")[("acme",)] == pytest.approx((20 * 2 + 4 * 8) / 1e6)
    assert values("hydra_cache_lookups") == {("answers", "no"): 4}
    assert set(values("hydra_first_token_seconds")) == {("hydra",)}
    assert set(values("hydra_request_seconds")) == {("chat",)}


def test_decisions_of_the_gate_are_counted_by_the_answer_that_was_given(served):
    app, asked = served(), ["hydra", "vote", "recent-vote", "recent-greedy", "ann's"]
    for answered in asked:
        app.adapter.answer = lambda ask, version, answered=answered: Choice(
            tuple(ask[1]), personal=True, gate=GateDecision(answered, ask[1][0].text, 0.1, -0.1)
        )
        app.ask(SAID, user="ann")
    app.ask(SAID, user="ann", hydra={"method": "hydra-ungated"})
    assert values("hydra_gate_decisions") == {("hydra",): 1, ("vote",): 2, ("greedy",): 1, ("other",): 1}


def test_feedback_is_counted_by_what_it_says(served):
    app = served()
    for said in ({"accepted": "y"}, {"accepted": "z"}, {"edited": "y"}, {"rejected": "y"}):
        assert app.client.post("/v1/users/ann/feedback", json={"input": "x", **said}).status_code == 200
    app.client.post("/v1/users/ann/feedback", json={"input": "x"})
    for said in ({"verdict": "regenerated"}, {"rating": 1}):
        body = {"id": app.ask(SAID, user="ann").json()["id"], **said}
        assert app.client.post("/v1/feedback", json=body).status_code == 200
    assert values("hydra_feedback") == {
        ("accepted",): 2,
        ("edited",): 1,
        ("rejected",): 1,
        ("regenerated",): 1,
        ("rated",): 1,
    }


def test_errors_of_the_store_are_counted_by_step(served, monkeypatch):
    def broken(*_):
        raise StoreError("the database is gone")

    app = served()
    monkeypatch.setattr(type(app.ingress._store.records), "is_personalised", broken)
    assert app.ask(SAID, user="ann").json()["hydra"]["degraded"] == ["preferences"]
    monkeypatch.setattr(type(app.ingress._store), "history", broken)
    assert app.client.get("/v1/users/ann/history").status_code == 503
    assert values("hydra_store_errors") == {("preferences",): 1, ("other",): 1}
    assert ("preferences", "failed") in values("hydra_step_seconds")


def test_what_is_not_listed_counts_as_other():
    trace = RequestTrace("r1", "/v1/users/ann", 0.0)
    trace.method, trace.status, trace.head, trace.tenant, trace.arm = "ann's", 299, "ann's", "ann's", "ann's"
    trace.steps.append(StepTime("ann's", 0.0, 1.0, "failed"))
    trace.store_errors.append("ann's")
    trace.degraded, trace.said, trace.usage, trace.first_token_s = ("ann's",), "ann's", Usage(1, 1, 1, cached=1), 1.0
    CountedRequests(Metrics(["acme"], ["a"]), Prices(1, 1), Breakers(1, 60))(trace)
    assert len(MADE) == 12
    seen = {value for series in MADE.values() for key in series.values for value in key}
    assert seen == {"other", "failed", "answers", "yes", "no", "in", "out"}


def test_a_metric_that_cannot_be_noted_fails_nobody_and_says_so_once(monkeypatch, caplog):
    def broken(*_, **__):
        raise ValueError("no core worker")

    monkeypatch.setattr(noted.metrics, "Counter", broken)
    here = Metrics(["acme"], [])
    for _ in range(3):
        here.note(names.HEADS, head="user")
        here.note(names.DEGRADED, without="adapter")
    assert [record.args for record in caplog.records] == [("hydra_heads",), ("hydra_degraded",)]


def test_each_kind_of_metric_is_noted_in_its_way():
    here = Metrics(["acme"], [])
    here.ages("adapter")(7200)
    here.lookups("encodings")(3, 1)
    assert values("hydra_head_age_hours") == {("adapter",): 2}
    assert values("hydra_cache_lookups") == {("encodings", "yes"): 3, ("encodings", "no"): 1}
    for value in (0.25, 0.5):
        here.note(names.QUOTA_LEFT, value, tenant="acme", what="tokens", per="day")
        here.note(names.COST, value, tenant="acme")
    here.note(names.COST, 0, tenant="acme")
    assert values("hydra_quota_left") == {("acme", "tokens", "day"): 0.5}
    assert values("hydra_cost") == {("acme",): 0.75}


def test_metrics_are_listed_once_with_labels_that_have_values():
    listed = {name for name, value in vars(names).items() if isinstance(value, names.Metric)}
    assert {getattr(names, name) for name in listed} == set(names.METRICS)
    assert len({metric.name for metric in names.METRICS}) == len(names.METRICS)
    assert {label for metric in names.METRICS for label in metric.labels} == set(names.VALUES)
    assert all((metric.kind == "histogram") == bool(metric.bounds) for metric in names.METRICS)
    # Ray's own labels are not to be taken.
    assert not {"deployment", "replica", "application", "le"} & set(names.VALUES)


def rows(below):
    """Rows of the table below a heading, cells as the page has them."""
    section = re.split(r"^#+ ", PAGE.partition(f"{below}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    table = [line for line in section.splitlines() if line.startswith("| ")]
    return [tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]) for line in table[1:]]


def test_the_page_has_every_metric_as_it_is():
    assert rows("### All metrics") == [
        (
            f"`{metric.exported}`",
            metric.kind,
            ", ".join(f"`{label}`" for label in metric.labels) or "none",
            metric.meaning,
        )
        for metric in names.METRICS
    ]


def test_the_page_has_every_label_with_its_values():
    said = {label.strip("`"): [value.strip("`") for value in text.split(", ")] for label, text in rows("### Labels")}
    assert set(said) == set(names.VALUES)
    for label, listed in names.VALUES.items():
        if label == "method":
            assert set(said[label]) == {"names of methods", *listed[-3:]}
        elif listed is not None:
            assert said[label] == list(listed)
