"""Connections to PostgreSQL that an operator or a failover cuts cost nobody a request."""

import threading

from load import Load
from sqlalchemy import create_engine, text

CUT = "select count(pg_terminate_backend(pid)) from pg_stat_activity where pid <> pg_backend_pid() and datname = :name"


def test_no_request_fails_when_the_stores_connections_are_cut_again_and_again(app, database):
    engine = create_engine(database, isolation_level="AUTOCOMMIT")
    asks = app.chat, app.feedback
    cut = 0
    with (
        Load(lambda client, number: asks[number % 2](client, number), per_s=4).running() as load,
        engine.connect() as db,
    ):
        for _ in range(16):
            cut += db.execute(text(CUT), {"name": engine.url.database}).scalar_one()
            threading.Event().wait(0.5)
    engine.dispose()
    assert cut > 16
    assert len(load.replies) == load.begun > 16
    assert [reply for reply in load.replies if reply.status != 200 or reply.degraded] == []
