"""The hosted retriever: histories as they are in the store now, and peers of tenants that opted in."""

import asyncio
from dataclasses import replace

import pytest

from hydra_ray.records import NOBODY, UserKey
from hydra_ray.serve import retriever as hosted
from hydra_ray.settings import PeerSettings
from hydra_ray.steps.index import pools

ANN, BOB, EVE = UserKey("acme", "ann"), UserKey("acme", "bob"), UserKey("other", "eve")


@pytest.fixture
def retriever(tmp_path, store, word_vectors):
    """Makes the deployment's class itself."""

    def make(tenants=("acme",), **settings):
        return hosted.Retriever.func_or_class(
            f"sqlite:///{tmp_path / 'users.db'}", PeerSettings(tenants=tenants, **settings), word_vectors, 64, None
        )

    return make


def inputs(ranked):
    return [one.item.input for one in ranked]


async def test_own_history_is_ranked_as_it_is_now(retriever, store, query, item):
    serving = retriever()
    assert await serving(query("robot"), 2, "bm25") == []
    store.put_histories({ANN: [item("a robot"), item("a cow")]})
    assert inputs(await serving(query("robot"), 1, "bm25")) == ["a robot"]


@pytest.mark.parametrize("nobody", [NOBODY, UserKey("acme", ""), UserKey("acme", " ")])
async def test_for_nobody_there_is_nothing_even_in_a_store_that_has_such_a_key(retriever, store, query, item, nobody):
    # Stores from before blank ids were refused may hold one.
    store.put_histories({nobody: [item("a robot")], BOB: [item("a robot sings")]})
    asked = replace(query("robot"), user=nobody)
    assert await retriever()(asked, 2, "bm25") == []
    assert await retriever(tenants=("acme", "")).peers(asked, 5) == []


async def test_peers_of_the_same_tenant_are_told_of(retriever, store, query, item):
    store.put_histories({ANN: [item("a robot")], BOB: [item("a robot sings"), item("cows")], EVE: [item("a robot")]})
    assert inputs(await retriever().peers(query("robot"), 5)) == ["a robot sings", "cows"]
    assert inputs(await retriever().peers(query("robot"), 1)) == ["a robot sings"]


async def test_a_tenant_that_did_not_opt_in_has_no_peers(retriever, store, query, item):
    store.put_histories({ANN: [item("a robot")], BOB: [item("a robot sings")]})
    assert await retriever(tenants=("other",)).peers(query("robot"), 5) == []


async def test_what_a_peer_deleted_or_changed_is_gone_at_once(retriever, store, query, item):
    store.put_histories({ANN: [item("a robot")], BOB: [item("a robot sings", id="1"), item("robots", id="2")]})
    serving = retriever()
    assert len(await serving.peers(query("robot"), 5)) == 2
    store.delete_item(BOB, "1")
    assert inputs(await serving.peers(query("robot"), 5)) == ["robots"]
    store.append_history(BOB, item("cows", id="2"))
    assert await serving.peers(query("robot"), 5) == []


async def test_who_switched_personalisation_off_is_not_shown_to_peers(retriever, store, query, item):
    store.put_histories({ANN: [item("a robot")], BOB: [item("a robot sings")]})
    serving = retriever()
    assert inputs(await serving.peers(query("robot"), 5)) == ["a robot sings"]
    store.records.personalise(BOB, False)
    assert await serving.peers(query("robot"), 5) == []
    store.records.personalise(BOB, True)
    assert inputs(await serving.peers(query("robot"), 5)) == ["a robot sings"]


async def test_who_is_similar_is_found_anew_after_a_while(retriever, store, query, item, monkeypatch):
    now = 0.0
    monkeypatch.setattr(pools, "monotonic", lambda: now)
    store.put_histories({ANN: [item("a robot")]})
    serving = retriever(refresh_s=600)
    assert await serving.peers(query("robot"), 5) == []
    store.put_histories({BOB: [item("a robot sings")]})
    now = 600.0
    assert await serving.peers(query("robot"), 5) == []
    now = 601.0
    # The old pool answers while the new one is made.
    assert await serving.peers(query("robot"), 5) == []
    while not (found := await serving.peers(query("robot"), 5)):
        await asyncio.sleep(0.01)
    assert inputs(found) == ["a robot sings"]
