"""How many replicas are wanted: the formula against what is known of queues, and what the command says."""

import inspect
import json

import pytest
from typer.testing import CliRunner

from hydra_ray.cli import app
from hydra_ray.commands.k8s import k8s_app
from hydra_ray.k8s.settings.size import SizeSettings
from hydra_ray.k8s.sizing import (
    HOLDS_ALL,
    HOLDS_THE_LLM,
    Calibrated,
    Traffic,
    Wanted,
    least_servers,
    load_calibrated,
    size,
    waiting,
)
from hydra_ray.records import HydraError

MEASURED = Calibrated(
    cpu_s={"Ingress": 0.01, "Reranker": 0.05, "Generator": 0.005, "proxy": 0.002},
    deployments=("Ingress", "Reranker", "Generator"),
    delay_s=0.5,
)
ONGOING = {"Ingress": 32, "Reranker": 32, "Generator": 32, "Adapter": 32}
WANTED = Wanted(busy=0.7, waiting=1.0, core_price=0.1)


def test_one_server_waits_as_the_books_say():
    """M/M/1 waits rho / (1 - rho); M/M/2 waits rho^2 / (1 - rho^2)."""
    assert waiting(1, 0.5) == pytest.approx(1.0)
    assert waiting(2, 1.0) == pytest.approx(0.25 / 0.75)
    assert waiting(1, 1.0) == waiting(2, 3.0) == float("inf")
    assert waiting(3, 0.0) == 0.0


@pytest.mark.parametrize(("servers", "load"), [(1, 1e-300), (5, 4.9), (40, 3.0), (300, 290.0), (3_000, 2_900.0)])
def test_the_sum_is_what_the_recursion_gives(servers, load):
    """Erlang B by its recursion, one server more at a time."""
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    told = blocked / (1 - load / servers * (1 - blocked)) / (servers - load)
    assert waiting(servers, load) == pytest.approx(told, rel=1e-9)


@pytest.mark.parametrize("load", [0.1, 0.9, 4.0, 250.0])
def test_no_fewer_servers_would_do(load):
    count = least_servers(load, 0.5, 1)
    assert waiting(count, load) <= 0.5
    assert count == 1 or waiting(count - 1, load) > 0.5


def test_more_users_want_more_of_what_works_most():
    few, many = (size(MEASURED, Traffic(users, 10, 3), WANTED, ONGOING) for users in (1_000, 10_000_000))
    assert {one.replicas for one in few.steps.values()} == {1}
    rate = 10_000_000 * 10 / 86_400 * 3
    assert many.steps["Reranker"].replicas == pytest.approx(rate * 0.05 / 0.7, abs=1)
    assert many.steps["Reranker"].mean_replicas == pytest.approx(rate / 3 * 0.05 / 0.7, abs=1)
    # It holds each request while the LLM works: its hands are full before its core is.
    assert many.steps["Generator"].replicas > rate * 0.005 / 0.7 + 1
    assert many.under_way > rate * (0.5 + 0.067)
    assert many.cost_at_peak > 2.9 * many.cost_a_month > 0


def test_what_waits_longer_has_more_in_hand():
    found = size(MEASURED, Traffic(1_000_000, 10, 3), WANTED, ONGOING).steps
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


def written(tmp_path, **changed):
    path = tmp_path / "queueing.json"
    path.write_text(json.dumps({"calibrated": MEASURED.model_dump() | changed}))
    return path


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"cpu_s": {"Ingress": 0, "Reranker": 0.05, "Generator": 0.005}}, "nothing above 0 for Ingress of deployments"),
        ({"cpu_s": {"Ingress": 0.01, "Reranker": 0.05}}, "nothing above 0 for Generator of deployments"),
        ({"cpu_s": {"Ingress": -0.01}, "deployments": ["Ingress"]}, r"calibrated\.cpu_s\.Ingress: .*greater than"),
        ({"cpu_s": {"Ingress": float("nan")}, "deployments": ["Ingress"]}, r"calibrated\.cpu_s\.Ingress: .*finite"),
        ({"delay_s": float("inf")}, r"calibrated\.delay_s: .*"),
        ({"deployments": []}, r"calibrated\.deployments: .*at least 1"),
        ({"deployments": ["Ingress", "Ingress"]}, "deployments names one twice"),
    ],
)
def test_figures_that_nothing_follows_from_are_refused(tmp_path, changed, told):
    with pytest.raises(HydraError, match=rf"queueing\.json: holds no figures of benchmarks/queueing\.py: .*{told}"):
        load_calibrated(written(tmp_path, **changed))


def test_a_deployment_that_there_is_not_is_named():
    with pytest.raises(HydraError, match="there is no Reranker; there are Ingress, Generator"):
        size(MEASURED, Traffic(1_000, 5, 3), WANTED, {"Ingress": 32, "Generator": 32})


def test_figures_of_any_size_are_worked_out():
    """A step for each server would not end."""
    many = size(MEASURED, Traffic(100_000_000_000, 86_400, 1_000), WANTED, ONGOING)
    assert many.steps["Reranker"].replicas == pytest.approx(1e14 * 0.05 / 0.7)
    tiny = Calibrated(cpu_s={"Ingress": 1e-320}, deployments=("Ingress",), delay_s=1.0)
    assert size(tiny, Traffic(1_000, 5, 3), WANTED, ONGOING).steps["Ingress"].target_ongoing == 22


def test_only_what_a_request_waits_for_keeps_it_under_way():
    beside = MEASURED.model_copy(update={"cpu_s": {**MEASURED.cpu_s, "ray": 0.2}})
    one, other = (size(measured, Traffic(1_000_000, 10, 3), WANTED, ONGOING) for measured in (MEASURED, beside))
    assert other.under_way == one.under_way
    assert other.steps == one.steps
    assert other.cost_a_month > one.cost_a_month


@pytest.mark.parametrize("option", ["--requests", "--peak", "--core-price", "--busy", "--waiting"])
@pytest.mark.parametrize("value", ["inf", "nan", "-1"])
def test_the_command_refuses_numbers_that_are_none(tmp_path, option, value):
    done = CliRunner().invoke(app, ["k8s", "size", str(written(tmp_path)), "--users", "10", option, value])
    assert isinstance(done.exception, HydraError), done.output
    name = {"--requests": "requests_a_day"}.get(option, option.strip("-").replace("-", "_"))
    assert f"  {name}: " in str(done.exception)


def test_labels_say_what_the_numbers_are(tmp_path):
    done = CliRunner().invoke(app, ["k8s", "size", str(written(tmp_path)), "--users", "10"])
    assert "requests under way at the peak" in done.output
    assert "price of the cores a month, autoscaled" in done.output
    assert "at once" not in done.output


def test_what_is_taken_for_granted_stands_in_one_place():
    """Options of the command, and limits and names of the deployments."""
    from hydra_ray.serve.ingress import Ingress
    from hydra_ray.serve.limits.fitting import ongoing_by_deployment

    (command,) = (one for one in k8s_app.registered_commands if one.name == "size")
    options = inspect.signature(command.callback).parameters
    names = {"requests": "requests_a_day"}
    found = {names.get(name, name): one.default for name, one in options.items() if name not in ("measured", "users")}
    assert found == SizeSettings().model_dump()
    ongoing = ongoing_by_deployment()
    assert {HOLDS_ALL, HOLDS_THE_LLM} <= set(ongoing)
    assert ongoing["Ingress"] == Ingress.max_ongoing_requests
