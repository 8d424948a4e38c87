"""Histories in memory are never older than the store's, are made once for all who ask, and rank as plain ones do."""

import asyncio
import logging
import threading

import hypothesis
import pytest
from defaults import lexical, retriever
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from hydra_ray.records import HistoryItem, HydraError, Query, UserKey
from hydra_ray.steps.index import histories as hosted
from hydra_ray.steps.index.histories import IndexedHistories
from hydra_ray.store.backends import open_store

ANN, BOB = UserKey("acme", "ann"), UserKey("acme", "bob")


class Counting:
    """A store that remembers what was read of it, and holds readers back while a test says so."""

    def __init__(self, store):
        self._store, self.changes, self.added = store, 0, 0
        self.open = threading.Event()
        self.open.set()
        self.reading = threading.Event()

    def history_version(self, key):
        return self._store.history_version(key)

    def history_change(self, key, since):
        self.reading.set()
        assert self.open.wait(60)
        change = self._store.history_change(key, since)
        self.changes += 1
        self.added += len(change.added)
        return change


@pytest.fixture
def counting(store):
    return Counting(store)


@pytest.fixture
def kept(counting):
    return IndexedHistories(counting, 1 << 20, None)


def inputs(history):
    return [item.input for item in history]


async def until(event):
    await asyncio.to_thread(event.wait, 60)


async def test_what_did_not_change_is_not_read_again(store, counting, kept, item):
    store.put_histories({ANN: [item("a robot")], BOB: [item("a cow")]})
    for _ in range(3):
        assert inputs(await kept.of(ANN)) == ["a robot"]
    assert inputs(await kept.of(BOB)) == ["a cow"]
    assert (counting.changes, counting.added) == (2, 2)


async def test_only_what_was_added_is_read(store, counting, kept, item):
    store.put_histories({ANN: [item(f"film {number}") for number in range(50)]})
    await kept.of(ANN)
    store.append_history(ANN, item("a robot"))
    store.delete_item(ANN, "film 3")
    history = await kept.of(ANN)
    assert history == store.history(ANN)
    assert counting.added == 51
    assert lexical(Query("q", ANN, "robot"), history, 1)[0].item.input == "a robot"


async def test_what_was_deleted_by_whomever_is_never_seen_again(store, kept, item, tmp_path):
    other = open_store(f"sqlite:///{tmp_path / 'users.db'}")
    store.put_histories({ANN: [item("a robot"), item("a cow")]})
    await kept.of(ANN)
    other.delete_item(ANN, "a robot")
    assert inputs(await kept.of(ANN)) == ["a cow"]
    other.delete(ANN)
    assert await kept.of(ANN) == ()
    other.append_history(ANN, item("a cat"))
    assert inputs(await kept.of(ANN)) == ["a cat"]
    other.close()


async def test_nobody_has_no_history(kept):
    assert await kept.of(ANN) == ()
    assert lexical(Query("q", ANN, "robot"), await kept.of(ANN), 3) == []


async def test_a_history_is_made_once_for_all_who_wait_and_whoever_gives_up_stops_nobody(store, counting, kept, item):
    store.put_histories({ANN: [item("a robot")]})
    counting.open.clear()
    impatient, *patient = [asyncio.create_task(kept.of(ANN)) for _ in range(6)]
    await until(counting.reading)
    impatient.cancel()
    counting.open.set()
    assert await asyncio.gather(*patient) == [store.history(ANN)] * 5
    assert counting.changes == 1


async def test_others_are_answered_while_one_history_is_made(store, counting, kept, item):
    store.put_histories({ANN: [item("a robot")], BOB: [item("a cow")]})
    await kept.of(BOB)
    counting.open.clear()
    # More than there are threads: those who wait take none.
    waiting = [asyncio.create_task(kept.of(ANN)) for _ in range(64)]
    await until(counting.reading)
    assert inputs(await kept.of(BOB)) == ["a cow"]
    counting.open.set()
    await asyncio.gather(*waiting)


async def test_who_asks_after_a_write_sees_it_even_if_an_older_reading_is_under_way(store, counting, kept, item):
    store.put_histories({ANN: [item("a robot")]})
    read, go_on = counting._store.history_change, threading.Event()

    def read_then_wait(key, since):
        change = read(key, since)
        counting.reading.set()
        assert go_on.wait(60)
        return change

    counting.history_change = read_then_wait
    first = asyncio.create_task(kept.of(ANN))
    await until(counting.reading)
    store.delete_item(ANN, "a robot")
    store.append_history(ANN, item("a cow"))
    second = asyncio.create_task(kept.of(ANN))
    await asyncio.sleep(0.05)
    go_on.set()
    assert inputs(await first) == ["a robot"]
    assert inputs(await second) == ["a cow"]


async def test_long_work_is_done_in_a_thread_of_its_own(store, kept, item, monkeypatch):
    monkeypatch.setattr(hosted, "_LONG", 5)
    names = {}
    read = kept._store.history_change

    def noting(key, since):
        names.setdefault(key, []).append(threading.current_thread().name.startswith("long-history"))
        return read(key, since)

    monkeypatch.setattr(kept._store, "history_change", noting)
    store.put_histories({ANN: [item(str(number)) for number in range(6)], BOB: [item("a cow")]})
    await asyncio.gather(kept.of(ANN), kept.of(BOB))
    store.append_history(ANN, item("a robot"))
    await kept.of(ANN)
    assert names == {ANN: [True, False], BOB: [False]}


async def test_long_work_rests_while_there_is_short_work(store, kept, item, monkeypatch):
    monkeypatch.setattr(hosted, "_LONG", 5)
    rests = []
    monkeypatch.setattr(hosted, "_TEXTS", 16)
    monkeypatch.setattr(hosted.time, "sleep", rests.append)
    store.put_histories({key: [item(str(number)) for number in range(40)] for key in (ANN, BOB)})
    await kept.of(ANN)
    alone = len(rests)
    with kept.short_work():
        await kept.of(BOB)
    assert (alone, rests) == (0, [hosted._REST_S] * 3)


async def test_a_reading_that_fails_fails_for_those_who_wait_and_is_tried_again(store, counting, kept, item, caplog):
    store.put_histories({ANN: [item("a robot")]})
    read = counting.history_change
    counting.history_change = lambda key, since: (_ for _ in ()).throw(HydraError("the disk is gone"))
    for task in [asyncio.create_task(kept.of(ANN)) for _ in range(2)]:
        with pytest.raises(HydraError, match="the disk is gone"):
            await task
    assert "could not be read: the disk is gone" in caplog.text
    counting.history_change = read
    assert inputs(await kept.of(ANN)) == ["a robot"]


async def test_memory_stays_within_its_bound_and_what_is_too_large_is_still_served(store, counting, item, caplog):
    users = [UserKey("acme", str(number)) for number in range(8)]
    store.put_histories({user: [item(f"{user.user} film {number}") for number in range(30)] for user in users})
    kept = IndexedHistories(counting, 60_000, None)
    for user in users:
        assert await kept.of(user) == store.history(user)
        assert kept.nbytes <= 60_000
    assert 1 < len(kept) < len(users)
    # The one asked about last is there, the first one is not.
    counting.changes = 0
    await kept.of(users[-1])
    assert counting.changes == 0
    await kept.of(users[0])
    assert counting.changes == 1
    caplog.set_level(logging.WARNING)
    small = IndexedHistories(counting, 10, None)
    for _ in range(2):
        assert await small.of(ANN) == ()
        assert await small.of(users[0]) == store.history(users[0])
    assert "more than serve.index_cache_mb: it is read for each request" in caplog.text
    assert (len(small), small.nbytes) == (0, 0)


async def test_what_is_counted_is_about_what_it_takes(store, kept, item):
    texts = [f"film {number} " + "word " * 50 for number in range(200)]
    store.put_histories({ANN: [item(text, id=str(number)) for number, text in enumerate(texts)]})
    await kept.of(ANN)
    full = kept.nbytes
    assert sum(map(len, texts)) < full < 20 * sum(map(len, texts))
    for number in range(150):
        store.delete_item(ANN, str(number))
    await kept.of(ANN)
    assert kept.nbytes < 0.5 * full


words = st.sampled_from(["robot", "cow", "cat", "love", "the", "", "war"])
said = st.lists(words, max_size=5).map(" ".join)
ids = st.sampled_from("abcdef")
items = st.builds(HistoryItem, ids, said, st.sampled_from(["drama", "comedy"]), st.none(), st.none(), said)


class Serving(RuleBasedStateMachine):
    """A store, histories in memory, and what should be there in plain dicts."""

    users = Bundle("users")

    def __init__(self):
        super().__init__()
        self.store, self.truth = open_store("sqlite://"), {}
        self.kept = IndexedHistories(self.store, 20_000, None)
        # Threads of its own would outlive the many loops of this test.
        self.loop = asyncio.new_event_loop()

    def teardown(self):
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        self.store.close()

    @initialize(target=users)
    def some_users(self):
        return ANN

    @rule(target=users, name=st.sampled_from(["bob", "cleo"]))
    def another(self, name):
        return UserKey("acme", name)

    @rule(user=users, history=st.lists(items, max_size=6, unique_by=lambda item: item.id))
    def put(self, user, history):
        self.store.put_histories({user: history})
        self.truth[user] = {item.id: item for item in history}

    @rule(user=users, item=items)
    def append(self, user, item):
        self.store.append_history(user, item)
        self.truth.setdefault(user, {}).pop(item.id, None)
        self.truth[user][item.id] = item

    @rule(user=users, item=items)
    def accept(self, user, item):
        with self.store.updating_observations(user, "v1", "adapter") as update:
            update.append_history(item)
        self.truth.setdefault(user, {}).pop(item.id, None)
        self.truth[user][item.id] = item

    @rule(user=users, name=ids)
    def reject(self, user, name):
        with self.store.updating_observations(user, "v1", "adapter") as update:
            assert update.delete_item(name) is (name in self.truth.get(user, {}))
        self.truth.get(user, {}).pop(name, None)

    @rule(user=users, name=ids)
    def delete_item(self, user, name):
        self.store.delete_item(user, name)
        self.truth.get(user, {}).pop(name, None)

    @rule(user=users)
    def delete(self, user):
        self.store.delete(user)
        self.truth.pop(user, None)

    @rule(user=users, text=said, by=st.sampled_from(["bm25", "mixed", "recent", "random"]), k=st.integers(0, 7))
    def ask(self, user, text, by, k):
        plain = tuple(self.truth.get(user, {}).values())
        history = self.loop.run_until_complete(self.kept.of(user))
        query = Query("q", user, text)
        assert tuple(history) == self.store.history(user) == plain
        # Scores to the last bit, so that no tie falls otherwise.
        assert retriever(by, None)(query, history, k) == retriever(by, None)(query, plain, k)

    @invariant()
    def is_bounded(self):
        assert self.kept.nbytes <= 20_000


def test_whatever_happens_serving_ranks_what_is_in_the_store():
    run_state_machine_as_test(Serving, settings=hypothesis.settings(max_examples=50, stateful_step_count=30))
