"""What is told is encoded in the pauses between requests, by every replica that will read it."""

import httpx
from patience import until

from hydra_ray.records import UserKey
from hydra_ray.store.backends import open_store


def test_what_is_told_is_encoded_before_a_request_asks_for_it(app):
    items = [{"id": f"told-{n}", "input": f"Describe a lamp {n}", "output": f"A lamp, bright {n}"} for n in range(3)]
    told = httpx.post(
        f"{app.url}/v1/users/tells-before-asking/history", json={"items": items}, headers=app.headers, timeout=30
    )
    assert told.status_code == 200, told.text
    store, key = open_store(app.settings.store_target), UserKey(app.settings.tenant, "tells-before-asking")

    def is_encoded() -> bool:
        # Of each item what the reranker reads, and the answer for the adapter.
        return store.records.counts(key)["item_encodings"] == 2 * len(items)

    until(is_encoded, "the encodings of what was told")
    store.close()
