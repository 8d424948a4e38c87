"""`hydra-ray keys` and `hydra-ray audit`: keys are shown once, and what was done is told."""

import json

import pytest
from typer.testing import CliRunner

from hydra_ray.commands.durations import moment_of, seconds_of
from hydra_ray.records import HydraError
from hydra_ray.serve.http.keys import open_keys


@pytest.fixture
def hydra(tmp_path):
    """Runs a command with settings of two tenants, and returns what it printed."""
    from hydra_ray.cli import app

    settings = tmp_path / "settings.yaml"
    (tmp_path / "model").mkdir()
    settings.write_text(
        f"out: {tmp_path}\nmodel: {{store: 'sqlite:///{tmp_path / 'users.db'}'}}\ntenants: {{zeta: {{}}}}\n"
    )

    def run(*words):
        done = CliRunner().invoke(app, [*words[:2], str(settings), *words[2:]])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.stdout

    run.keys = open_keys(f"sqlite:///{tmp_path / 'users.db'}")
    return run


def test_a_key_is_made_and_shown_once(hydra):
    text = hydra("keys", "create", "--scope", "chat", "--scope", "users", "--user", "ann", "--expires", "30d").strip()
    key = hydra.keys.find(text)
    assert (key.tenant, key.user, key.scopes) == ("default", "ann", {"chat", "users"})
    assert key.expires - key.created == pytest.approx(30 * 86_400)
    assert text not in hydra("keys", "list") + hydra("keys", "list", "--json")


def test_without_a_scope_a_key_is_for_chat_alone(hydra):
    assert hydra.keys.find(hydra("keys", "create").strip()).scopes == {"chat"}


def test_programs_read_json(hydra):
    made = json.loads(hydra("keys", "create", "--tenant", "zeta", "--name", "app", "--json"))
    assert hydra.keys.find(made["key"]).tenant == "zeta"
    (listed,) = json.loads(hydra("keys", "list", "--json"))
    assert (listed["id"], listed["name"], "key" in listed) == (made["id"], "app", False)
    assert json.loads(hydra("keys", "list", "--tenant", "default", "--json")) == []
    rotated = json.loads(hydra("keys", "rotate", made["id"], "--json"))
    assert hydra.keys.find(made["key"]) is None
    assert hydra.keys.find(rotated["key"]).id == made["id"]
    assert json.loads(hydra("keys", "revoke", made["id"], "--json"))["revoked"]


def test_the_list_shows_whole_ids_and_what_became_of_each(hydra):
    text = hydra("keys", "create", "--name", "[red]app").strip()
    key = hydra.keys.find(text)
    assert key.id in hydra("keys", "list")
    assert "revoked" in hydra("keys", "revoke", key.id)
    assert "revoked" in hydra("keys", "list")


def test_a_former_key_holds_for_its_grace(hydra):
    text = hydra("keys", "create").strip()
    key = hydra.keys.find(text)
    again = hydra("keys", "rotate", key.id, "--grace", "1h").strip()
    assert hydra.keys.find(text).id == hydra.keys.find(again).id == key.id


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("create", "--tenant", "beta"), "'beta' is not served"),
        (("create", "--scope", "root"), "no scope 'root'"),
        (("create", "--expires", "soon"), "--expires: 'soon' is neither"),
        (("revoke", "key_0"), "there is no 'key_0'"),
        (("rotate", "key_0", "--grace", "x"), "--grace: 'x' is no duration"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(hydra, words, told):
    with pytest.raises(HydraError, match=told) as caught:
        hydra("keys", *words)
    assert "\n" not in str(caught.value)


def test_the_audit_log_is_lines_of_json(hydra):
    made = json.loads(hydra("keys", "create", "--json"))
    hydra("keys", "revoke", made["id"])
    told = hydra("audit", "export")
    entries = [json.loads(line) for line in told.splitlines()]
    assert [(one["action"], one["target"]) for one in entries] == [
        ("key.create", made["id"]),
        ("key.revoke", made["id"]),
    ]
    assert all(one["actor"].startswith("cli:") for one in entries)
    assert made["key"] not in told
    assert hydra("audit", "export", "--since", "1h") == told
    assert hydra("audit", "export", "--since", "2999-01-01") == ""


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("1.5h", 5_400), (" 2d ", 172_800)])
def test_durations(text, seconds):
    assert seconds_of(text, "--x") == seconds
    assert moment_of(text, 1e6, -1, "--x") == 1e6 - seconds


@pytest.mark.parametrize(
    ("text", "moment"), [("1970-01-02", 86_400), ("1970-01-01T01:00", 3_600), ("1970-01-01T01:00+01:00", 0)]
)
def test_moments(text, moment):
    assert moment_of(text, 5.0, 1, "--x") == moment
