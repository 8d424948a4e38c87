"""`hydra-ray report`: an online experiment from the completion log, and how many users one takes."""

import json

import pytest
from typer.testing import CliRunner

from hydra_ray.cli import app
from hydra_ray.records import HistoryItem, HydraError, Usage, UserKey
from hydra_ray.store.backends import open_store
from hydra_ray.store.completions.log import CompletionLog
from hydra_ray.store.completions.records import Completion, Offer, Statement
from hydra_ray.store.schema import open_database


@pytest.fixture
def hydra(tmp_path):
    path = tmp_path / "settings.yaml"
    experiment = "{name: spring, key_env: KEY, holdout: 0.5}"
    path.write_text(
        f"tenant: acme\nout: {tmp_path / 'out'}\ntenants: {{zeta: {{}}}}\nserve: {{experiment: {experiment}}}\n"
        "generator: {limits: {price_in: 2}}\n"
    )

    def run(*words):
        words = [str(path) if word == "SETTINGS" else word for word in words]
        done = CliRunner().invoke(app, ["report", *words], env={"COLUMNS": "200"})
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.stdout

    run.url = f"sqlite:///{tmp_path / 'out' / 'users.db'}"
    (tmp_path / "out").mkdir()
    return run


def fill(url, users=120, tenant="acme", created_s=1_000_000.0):
    rows = [
        Completion(
            f"chatcmpl-{tenant}-{user}-{created_s:g}", "", tenant, f"u{user}", created_s + user, "v1", "hydra",
            f"spring/{('holdout', 'default')[user % 2]}", 0.5, "user", "Now?", (), (Offer("Calm.", 1, 0.0),), 0, (),
            Usage(1, 100, 10), 0.5, False, Statement("accepted" if user % 4 else "rejected"), created_s + user,
        )
        for user in range(users)
    ]  # fmt: skip
    CompletionLog(open_database(url)).add(rows)


def test_the_completion_log_is_compared(hydra, tmp_path):
    fill(hydra.url)
    found = json.loads(hydra("online", "SETTINGS", "--json"))
    assert (found["experiment"], found["against"], found["since_s"]) == ("spring", "holdout", 1_000_000.0)
    (part,) = found["slices"]
    assert (part["tenant"], part["users"], part["completions"]) == ("acme", 120, 120)
    values = {
        (arm["arm"], figure["measure"]): figure["value"]["value"] for arm in part["arms"] for figure in arm["figures"]
    }
    assert (values["default", "accepted"], values["holdout", "accepted"]) == (1.0, 0.5)
    assert values["holdout", "cost"] == pytest.approx(0.0002)
    page = tmp_path / "page.html"
    assert "spring: tenant acme, 120 users" in hydra("online", "SETTINGS", "--html", str(page))
    assert "spring: tenant acme, 120 users" in page.read_text()


def test_tenants_times_and_experiments_are_chosen(hydra):
    fill(hydra.url)
    fill(hydra.url, users=60, tenant="zeta")
    fill(hydra.url, users=30, created_s=2_000_000.0)

    def slices(*more):
        return [(one["tenant"], one["completions"]) for one in json.loads(hydra(*ONLINE, *more))["slices"]]

    assert slices() == [("", 210), ("acme", 150), ("zeta", 60)]
    assert slices("--tenant", "zeta") == [("zeta", 60)]
    assert slices("--since", "1970-01-20") == [("acme", 30)]
    assert slices("--until", "1970-01-20", "--tenant", "acme") == [("acme", 120)]
    with pytest.raises(HydraError, match="experiment 'autumn' has no completion"):
        slices("--experiment", "autumn")
    with pytest.raises(HydraError, match="--tenant: 'nemo' is not served"):
        slices("--tenant", "nemo")


ONLINE = ("online", "SETTINGS", "--json")


def test_cohorts_are_of_what_was_known_before_the_experiment(hydra):
    store = open_store(hydra.url)
    # Written now, long after the completions: what an arm made users say must not choose their cohort.
    store.put_histories({UserKey("acme", f"u{user}"): [HistoryItem("1", "x", "y")] for user in range(120)})
    store.close()
    fill(hydra.url)
    found = json.loads(hydra(*ONLINE, "--cohort"))
    assert [(one["cohort"], one["users"]) for one in found["slices"]] == [("", 120), ("no history", 120)]
    fill(hydra.url, created_s=4_000_000_000.0)
    found = json.loads(hydra(*ONLINE, "--cohort", "--since", "2090-01-01", "--until", "2100-01-01"))
    assert [(one["cohort"], one["users"]) for one in found["slices"]] == [("", 120), ("1 to 9 items", 120)]


def test_how_many_users_it_takes(hydra):
    plain = ("sample-size", "--baseline", "0.4", "--effect", "0.1", "--correlation", "0")
    assert "770 users (385 in the arm, 385 in the other), looked at once" in hydra(*plain)
    assert json.loads(hydra(*plain, "--json"))["fixed"] == 770
    relative = json.loads(hydra("sample-size", "--baseline", "0.4", "--effect", "25%", "--correlation", "0", "--json"))
    assert relative["fixed"] == 770
    mean = ("sample-size", "--baseline", "9", "--effect", "0.5", "--deviation", "2", "--json")
    assert json.loads(hydra(*mean))["fixed"] == 503
    with pytest.raises(HydraError, match=r"--baseline: 1\.4 is not between 0 and 1"):
        hydra("sample-size", "--baseline", "1.4", "--effect", "0.1")
    with pytest.raises(HydraError, match="--effect: 'much' is no difference"):
        hydra("sample-size", "--baseline", "0.4", "--effect", "much")


def test_answers_of_an_evaluation_are_still_scored_without_a_word_for_it(hydra):
    with pytest.raises(HydraError, match="nowhere: there are no dumps; hydra-ray evaluate writes them"):
        hydra("SETTINGS", "nowhere")
