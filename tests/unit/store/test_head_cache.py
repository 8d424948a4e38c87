from collections import Counter

import pytest
import torch
from clocks import Clock
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from hydra_ray.models.heads import Head
from hydra_ray.records import UserKey
from hydra_ray.store import cache as store_cache
from hydra_ray.store.backends import open_store
from hydra_ray.store.cache import OVERHEAD, HeadCache
from hydra_ray.store.user_rows import fitted

ANN, BOB, CARL, DORA = (UserKey("acme", name) for name in ("ann", "bob", "carl", "dora"))
ABOUT = ("v1", "adapter")
# Of each head: four numbers in float32.
SIZE = 16 + OVERHEAD


def head(value, numbers=4):
    return Head("facets", {"mix": torch.full((numbers,), float(value))})


def values(heads):
    return [None if head is None else head.tensors["mix"][0].item() for head in heads]


class Counting:
    """A store that remembers whose heads were read, and how often stamps were asked for."""

    def __init__(self, store):
        self.store, self.read, self.stamped = store, Counter(), 0

    def stamps(self, keys, version, role):
        self.stamped += 1
        return self.store.stamps(keys, version, role)

    def heads(self, keys, version, role):
        self.read.update(keys := list(keys))
        return self.store.heads(keys, version, role)


@pytest.fixture
def store(store):
    store.put_heads(*ABOUT, {key: head(value) for value, key in enumerate((ANN, BOB, CARL))})
    return store


@pytest.fixture
def counting(store):
    return Counting(store)


@pytest.fixture
def cache(counting):
    return HeadCache(counting, *ABOUT, max_bytes=3 * SIZE)


def test_each_user_gets_their_own_head(cache):
    assert values(cache([BOB, None, DORA, ANN, BOB])) == [1, None, None, 0, 1]
    assert cache([]) == []
    assert cache([None]) == [None]


def test_one_users_heads_are_one_object_now_and_later(cache):
    first, second = cache([ANN, ANN])
    assert first is second
    assert cache([BOB, ANN])[1] is first


def test_only_what_changed_is_read(store, cache, counting):
    cache([ANN, BOB, CARL])
    cache([BOB, ANN, CARL])
    assert counting.read == {ANN: 1, BOB: 1, CARL: 1}
    store.put_heads(*ABOUT, {BOB: head(7)})
    assert values(cache([ANN, BOB, CARL])) == [0, 7, 2]
    assert counting.read == {ANN: 1, BOB: 2, CARL: 1}


def test_the_store_is_asked_for_stamps_once_a_call_and_not_about_nobody(cache, counting):
    cache([ANN, BOB, DORA, ANN])
    assert counting.stamped == 1
    cache([None, None])
    assert counting.stamped == 1


def test_a_head_that_another_process_wrote_or_deleted_is_seen_at_once(store, cache, store_url):
    cache([ANN, BOB])
    other = open_store(store_url)
    other.put_heads(*ABOUT, {ANN: head(7), DORA: head(8)})
    other.delete(BOB)
    assert values(cache([ANN, BOB, DORA])) == [7, None, 8]
    assert (len(cache), cache.nbytes) == (2, 2 * SIZE)
    other.close()


def test_a_head_that_is_deleted_between_stamp_and_reading_is_none(cache, counting, store, monkeypatch):
    stamps = store.stamps([ANN, BOB], *ABOUT)
    store.delete(ANN)
    monkeypatch.setattr(counting, "stamps", lambda *_: stamps)
    assert values(cache([ANN, BOB])) == [None, 1]


def test_other_versions_and_roles_are_not_mixed_up(store, counting):
    store.put_heads("v1", "reranker", {ANN: head(5)})
    store.put_heads("v2", "adapter", {ANN: head(6)})
    caches = [HeadCache(counting, *about, max_bytes=SIZE) for about in (ABOUT, ("v1", "reranker"), ("v2", "adapter"))]
    assert [values(cache([ANN])) for cache in caches] == [[0], [5], [6]]


def test_heads_used_last_are_kept_and_others_dropped(store, cache, counting):
    store.put_heads(*ABOUT, {DORA: head(3)})
    for key in (ANN, BOB, CARL, ANN, DORA):
        cache([key])
    # Ann was used again, so that Bob's was the one to go.
    assert (len(cache), cache.nbytes) == (3, 3 * SIZE)
    counting.read.clear()
    cache([ANN, CARL, DORA])
    assert not counting.read
    cache([BOB])
    assert counting.read == {BOB: 1}


def test_a_head_that_is_too_large_to_keep_is_given_all_the_same(store, cache, counting):
    store.put_heads(*ABOUT, {DORA: head(3, numbers=SIZE)})
    for _ in range(2):
        assert values(cache([DORA])) == [3]
    assert counting.read == {DORA: 2}
    assert (len(cache), cache.nbytes) == (0, 0)


def test_a_rewritten_head_of_another_size_is_counted_anew(store, cache):
    cache([ANN, BOB])
    store.put_heads(*ABOUT, {ANN: head(0, numbers=6)})
    cache([ANN])
    assert cache.nbytes == 6 * 4 + OVERHEAD + SIZE


users = st.sampled_from([ANN, BOB, CARL, DORA])
steps = st.one_of(
    st.tuples(st.just("ask"), st.lists(st.none() | users, max_size=4)),
    st.tuples(st.just("write"), st.tuples(users, st.integers(0, 99), st.integers(1, 8))),
    st.tuples(st.just("delete"), users),
)


@given(steps=st.lists(steps, max_size=12), most=st.integers(0, 5))
def test_whatever_happens_the_cache_agrees_with_the_store_and_keeps_its_bound(lasting, steps, most):
    for key in (ANN, BOB, CARL, DORA):
        lasting.delete(key)
    cache, truth = HeadCache(lasting, *ABOUT, most * SIZE), {}
    for what, about in steps:
        if what == "write":
            key, value, numbers = about
            lasting.put_heads(*ABOUT, {key: head(value, numbers)})
            truth[key] = head(value, numbers)
        elif what == "delete":
            lasting.delete(about)
            truth.pop(about, None)
        else:
            for key, found in zip(about, cache(about), strict=True):
                assert_close(found and found.tensors, truth.get(key) and truth[key].tensors)
        assert (
            cache.nbytes == sum(kept.nbytes + OVERHEAD for (_, kept, _), _ in cache._kept._kept.values()) <= most * SIZE
        )


def test_the_age_of_each_head_that_is_given_is_noted(sqlite_url, monkeypatch):
    clock, ages, sql_store = Clock(), [], open_store(sqlite_url)
    monkeypatch.setattr(fitted, "time", clock)
    monkeypatch.setattr(store_cache, "time", clock)
    sql_store.put_heads(*ABOUT, {ANN: head(0), BOB: head(1)})
    cache = HeadCache(sql_store, *ABOUT, max_bytes=SIZE, aged=ages.append)
    clock.now += 60
    cache([ANN, None, DORA, ANN])
    sql_store.put_heads(*ABOUT, {ANN: head(2)})
    clock.now += 5
    # From memory as well as from the store, which knows since when.
    cache([ANN])
    cache([ANN, BOB])
    assert ages == [60, 60, 5, 5, 65]
    # Who wrote it has a clock that is ahead.
    clock.now -= 3600
    cache([ANN])
    assert ages[-1] == 0
    sql_store.close()
