"""Other processes that use a store, and how many connections they have."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

# The first process imports what all need, which takes longer than what they do; it uses nothing of it itself.
_FORK = """
import os, sys, traceback
import psycopg, sqlalchemy.dialects.postgresql.psycopg
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.store.backends import open_store
from hydra_ray.store.connections.target import StoreTarget
count, url, most, script = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]) or None, sys.stdin.read()
target = StoreTarget(url, None, None, most, None)
all_there, begin = os.pipe()
for number in range(count):
    if os.fork() == 0:
        code = 1
        try:
            os.close(begin)
            os.read(all_there, 1)
            exec(script, globals())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
os.close(begin)
sys.exit(max(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(count)))
"""


def run_at_once(count: int, script: str, url: str, most: int = 0) -> list[str]:
    """Run a script in processes that begin it at the same moment; return the lines that they printed.

    Args:
        count: Number of processes.
        script: Python, which finds its process's `number`, and `url` and `target` of the store.
        url: Store that they open.
        most: Most connections of all of them; 0 for no limit.
    """
    command = [sys.executable, "-c", _FORK, str(count), url, str(most)]
    ran = subprocess.run(command, input=script, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


@contextmanager
def counted_connections(url: str) -> Iterator[list[int]]:
    """Give a list that fills with the number of connections to a database, those that are just being made included."""
    from sqlalchemy import create_engine, text

    engine, seen, ended = create_engine(url, isolation_level="AUTOCOMMIT"), list[int](), threading.Event()
    query = text(
        "select count(*) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend' "
        "and coalesce(datname, current_database()) = current_database()"
    )

    def count() -> None:
        with engine.connect() as db:
            while not ended.is_set():
                seen.append(db.execute(query).scalar())
                time.sleep(0.002)

    counting = threading.Thread(target=count)
    counting.start()
    try:
        yield seen
    finally:
        ended.set()
        counting.join()
        engine.dispose()


def terminate_connections(url: str) -> int:
    """End all other connections to a database, as an operator or a failover does; return how many."""
    from sqlalchemy import create_engine, text

    query = "select count(pg_terminate_backend(pid)) from pg_stat_activity where pid <> pg_backend_pid() "
    engine = create_engine(url)
    with engine.connect() as db:
        ended = db.execute(text(query + "and datname = current_database()")).scalar()
    engine.dispose()
    return ended
