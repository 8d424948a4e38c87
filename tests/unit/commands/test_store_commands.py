"""`hydra-ray store ...` does what it says, prints counts, and ends with an exit code that tells."""

import sqlite3

import pytest
from typer.testing import CliRunner

from hydra_ray.cli import app
from hydra_ray.records import HistoryItem, HydraError, UserKey
from hydra_ray.store.backends import open_store

ANN = UserKey("acme", "ann")


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(f"out: {tmp_path / 'out'}\n")
    (tmp_path / "out").mkdir()
    store = open_store(f"sqlite:///{tmp_path}/out/users.db")
    store.put_histories({ANN: [HistoryItem("film", "a robot", "sci-fi")]})
    store.close()
    return str(path)


def run(*words):
    ran = CliRunner().invoke(app, ["store", *map(str, words)])
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    return ran.exit_code, ran.output


def histories(path):
    store = open_store(f"sqlite:///{path}")
    found = store.histories("acme")
    store.close()
    return found


def test_a_store_is_backed_up_restored_moved_exported_and_imported(settings, tmp_path):
    ann = histories(tmp_path / "out" / "users.db")
    elsewhere = f"store.url=sqlite:///{tmp_path}/restored.db"
    code, said = run("backup", settings, tmp_path / "copy.db")
    assert (code, "1 history, 1 history_versions" in said.replace("\n", " ")) == (0, True), said
    assert run("restore", settings, tmp_path / "copy.db", elsewhere)[0] == 0
    assert histories(tmp_path / "restored.db") == ann
    assert run("migrate", settings, f"sqlite:///{tmp_path}/moved.db")[0] == 0
    assert histories(tmp_path / "moved.db") == ann
    assert run("export", settings, tmp_path / "users", "--tenant", "acme", "--user", "ann")[0] == 0
    code, said = run("import", settings, tmp_path / "users", f"store.url=sqlite:///{tmp_path}/imported.db")
    assert (code, "1 users imported" in said) == (0, True)
    assert histories(tmp_path / "imported.db") == ann


def test_what_is_there_is_replaced_only_when_told(settings, tmp_path):
    run("backup", settings, tmp_path / "copy.db")
    run("export", settings, tmp_path / "users")
    for words in (("restore", settings, tmp_path / "copy.db"), ("import", settings, tmp_path / "users")):
        with pytest.raises(HydraError, match="--replace"):
            run(*words)
        assert run(*words, "--replace")[0] == 0


def test_a_check_ends_with_1_where_something_does_not_fit_together(settings, tmp_path):
    assert run("check", settings) == (0, run("check", settings)[1])
    db = sqlite3.connect(tmp_path / "out" / "users.db")
    db.execute("delete from history_versions")
    db.commit()
    db.close()
    code, said = run("check", settings)
    assert code == 1
    assert "histories without a version: 1\n  user 'ann' of tenant 'acme'" in said


def test_users_are_of_a_tenant(settings, tmp_path):
    code, said = run("export", settings, tmp_path / "users", "--user", "ann")
    assert code == 2
    assert "--tenant" in said
