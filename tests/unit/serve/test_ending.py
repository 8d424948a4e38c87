"""Replicas say at their end what is to be known of them, whatever goes on where they are collected."""

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
