"""How many replicas are wanted: the formula against what is known of queues, and what the command says."""

import json

import pytest
from typer.testing import CliRunner

from hydra_ray.cli import app
from hydra_ray.records import HydraError
from hydra_ray.sizing import Calibrated, Traffic, Wanted, least_servers, load_calibrated, size, waiting

MEASURED = Calibrated(
    cpu_s={"Ingress": 0.01, "Reranker": 0.05, "Generator": 0.005, "proxy": 0.002},
    deployments=("Ingress", "Reranker", "Generator"),
    delay_s=0.5,
)
WANTED = Wanted(busy=0.7, waiting=1.0, core_price=0.1)


def test_one_server_waits_as_the_books_say():
    """M/M/1 waits rho / (1 - rho); M/M/2 waits rho^2 / (1 - rho^2)."""
    assert waiting(1, 0.5) == pytest.approx(1.0)
    assert waiting(2, 1.0) == pytest.approx(0.25 / 0.75)
    assert waiting(1, 1.0) == waiting(2, 3.0) == float("inf")
    assert waiting(3, 0.0) == 0.0


@pytest.mark.parametrize("load", [0.1, 0.9, 4.0, 250.0])
def test_no_fewer_servers_would_do(load):
    count = least_servers(load, 0.5)
    assert waiting(count, load) <= 0.5
    assert count == 1 or waiting(count - 1, load) > 0.5


def test_more_users_want_more_of_what_works_most():
    few, many = (size(MEASURED, Traffic(users, 10, 3), WANTED) for users in (1_000, 10_000_000))
    assert {one.replicas for one in few.steps.values()} == {1}
    rate = 10_000_000 * 10 / 86_400 * 3
    assert many.steps["Reranker"].replicas == pytest.approx(rate * 0.05 / 0.7, abs=1)
    assert many.steps["Reranker"].mean_replicas == pytest.approx(rate / 3 * 0.05 / 0.7, abs=1)
    # It holds each request while the LLM works: its hands are full before its core is.
    assert many.steps["Generator"].replicas > rate * 0.005 / 0.7 + 1
    assert many.in_flight > rate * (0.5 + 0.067)
    assert many.cost_at_peak > 2.9 * many.cost_a_month > 0


def test_what_waits_longer_has_more_in_hand():
    found = size(MEASURED, Traffic(1_000_000, 10, 3), WANTED).steps
    assert found["Reranker"].target_ongoing == round(0.7 / 0.05 * 0.1)
    assert found["Reranker"].target_ongoing < found["Ingress"].target_ongoing < 32


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", json.dumps({"calibrated": {"cpu_s": {}, "deployments": [], "delay_s": 0}})]
)
def test_files_without_figures_are_refused(tmp_path, text):
    path = tmp_path / "queueing.json"
    with pytest.raises(HydraError, match=r"queueing\.json: No such file"):
        load_calibrated(path)
    path.write_text(text)
    with pytest.raises(HydraError, match=r"queueing\.json: holds no figures of benchmarks/queueing\.py"):
        load_calibrated(path)


def test_the_command_says_what_each_number_of_users_wants(tmp_path):
    path = tmp_path / "queueing.json"
    path.write_text(json.dumps({"calibrated": MEASURED.model_dump()}))
    done = CliRunner().invoke(app, ["k8s", "size", str(path), "--users", "10000", "--users", "1000000", "--peak", "2"])
    assert done.exit_code == 0, done.output
    assert "1,000,000" in done.output
    assert f"Reranker {round(0.7 / 0.05 * 0.1)}" in done.output
