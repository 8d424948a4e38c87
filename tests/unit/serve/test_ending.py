"""Replicas say at their end what is to be known of them, whatever goes on where they are collected."""

import subprocess
import sys
import time

from hydra_ray.runtime.models import catalog_of
from hydra_ray.serve.versions.uses import INGRESS
from hydra_ray.store.schema import open_database


def test_who_is_collected_within_a_transaction_waits_for_nobody(served, tmp_path, caplog):
    app = served(more={"store": {"url": f"sqlite:///{tmp_path}/users.db"}})
    settings = app.ingress._settings

    def held():
        with catalog_of(settings) as catalog:
            return [use.holder for use in catalog.aliases.uses() if use.holder.startswith(INGRESS)]

    assert len(held()) == 1
    database = open_database(settings.store_target)
    with database.writing():
        # As Python does, when it collects garbage while a statement is compiled.
        app.ingress.__del__()
        assert len(held()) == 1
    deadline = time.monotonic() + 60
    while held() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert held() == []
    assert "nobody can be told" not in caplog.text
    database.close()


_COLLECTED_AT_THE_END = """
from hydra_ray.serve.ending import ending

class Replica:
    def __init__(self):
        self.itself = self

    def __del__(self):
        print("collected", flush=True)
        ending(print)

replica = Replica()
"""


def test_who_is_collected_when_the_process_ends_does_not_keep_it():
    # In a process of its own: where it waits, it does so for ever.
    run = [sys.executable, "-c", _COLLECTED_AT_THE_END]
    ended = subprocess.run(run, check=True, timeout=120, capture_output=True, text=True)
    assert ended.stdout.startswith("collected")
