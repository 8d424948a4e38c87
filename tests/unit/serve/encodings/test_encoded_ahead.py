"""New items are encoded before a request asks for them, in its pauses; whatever goes wrong harms no request."""

import threading
from functools import partial
from types import SimpleNamespace

import pytest
from patience import until

from hydra_ray.bounded import not_counted
from hydra_ray.learn.heads.item_encodings import ReadTexts
from hydra_ray.models.base import ADAPTER, RERANKER
from hydra_ray.models.encodings import KeptEncodings
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.serve.encodings import ahead as module
from hydra_ray.serve.encodings.ahead import EncodedAhead, Reading
from hydra_ray.serve.encodings.items import ItemEncodings
from hydra_ray.serve.encodings.rounds import Look, Rounds
from hydra_ray.store.schema import open_database
from hydra_ray.store.types import StoreError
from hydra_ray.store.user_rows.encodings import EncodingStore
from hydra_ray.tasks import TEXT_TASK

ANN, BOB = UserKey("acme", "ann"), UserKey("acme", "bob")
ITEMS = [HistoryItem(f"item-{number}", f"asks {number}", f"says {number}") for number in range(5)]
GENEROUS_S = 60


@pytest.fixture
def encodings(tmp_path, store):
    """Encodings beside the histories of `store`."""
    database = open_database(f"sqlite:///{tmp_path / 'users.db'}")
    yield EncodingStore(database)
    database.close()


@pytest.fixture
def begin(encodings, scorer):
    """Begins to encode ahead on the tiny encoder; notes what was dropped."""
    begun = []

    def ahead(role=RERANKER, every_s=3_600.0, users=1, encoder=None, task=TEXT_TASK, most=0):
        encoder, kept, dropped = encoder or scorer().encoder, KeptEncodings(1 << 20), []
        encoder.remember(kept)
        reading = Reading(encoder, ReadTexts(role, task, most))
        look = Look(partial(encodings.users, ["acme"], most=users), partial(encodings.newest, most=3))
        made = EncodedAhead(ItemEncodings(encodings, kept, not_counted), lambda: reading, look, dropped.append, every_s)
        begun.append(made)
        return SimpleNamespace(ahead=made, dropped=dropped, encoder=encoder)

    yield ahead
    for one in begun:
        one.close()


def kept(encodings, user=ANN):
    return len(encodings.kept([user]).get(user, ()))


@pytest.mark.parametrize("role", [RERANKER, ADAPTER])
def test_what_is_noted_is_soon_in_the_store(begin, encodings, store, role):
    store.put_histories({ANN: ITEMS, BOB: ITEMS[:2]})
    one = begin(role)
    one.ahead.note(ANN, ITEMS)
    one.ahead.note(BOB, ITEMS[:2])
    assert one.ahead.settle(GENEROUS_S)
    assert (kept(encodings), kept(encodings, BOB), one.dropped) == (5, 2, [])


def test_nothing_is_begun_while_a_request_is_here(begin, encodings, store, rows, monkeypatch):
    store.put_histories({ANN: ITEMS})
    one, find, looked = begin(), EncodingStore.find, threading.Event()
    monkeypatch.setattr(EncodingStore, "find", lambda *asked: (looked.set(), find(*asked))[1])
    with one.ahead.request():
        one.ahead.note(ANN, ITEMS)
        # It has the items, and knows what is missing.
        assert looked.wait(GENEROUS_S)
        assert not one.ahead.settle(0.2)
        assert rows == []
    assert one.ahead.settle(GENEROUS_S)
    assert kept(encodings) == 5


def test_what_is_kept_already_is_not_encoded_again(begin, store, rows):
    store.put_histories({ANN: ITEMS})
    for _ in range(2):
        one = begin()
        one.ahead.note(ANN, ITEMS)
        assert one.ahead.settle(GENEROUS_S)
    assert sum(rows) == len(ITEMS)


def test_what_finds_no_room_is_counted(begin, encodings, store, monkeypatch):
    monkeypatch.setattr(module, "_WAITING", 3 * module._length(ITEMS[0]))
    store.put_histories({ANN: ITEMS})
    one = begin()
    with one.ahead.request():
        # The first may be taken out of the queue at once.
        one.ahead.note(ANN, ITEMS)
        one.ahead.note(ANN, ITEMS[:3])
    assert one.dropped == [2]
    assert one.ahead.settle(GENEROUS_S)
    assert kept(encodings) == 3
    # There is room again.
    one.ahead.note(ANN, ITEMS[3:])
    assert one.ahead.settle(GENEROUS_S)
    assert (kept(encodings), one.dropped) == (5, [2])


def test_long_texts_take_the_room_of_many_short_ones(begin, encodings, store):
    long = HistoryItem("long", "word " * (module._WAITING // 5), "says")
    store.put_histories({ANN: [*ITEMS, long]})
    one = begin()
    one.ahead.note(ANN, [long, *ITEMS])
    assert one.ahead.settle(GENEROUS_S)
    assert (kept(encodings), one.dropped) == (5, [1])


def test_who_was_deleted_meanwhile_does_not_come_back(begin, encodings, store):
    store.put_histories({ANN: ITEMS})
    one = begin()
    with one.ahead.request():
        one.ahead.note(ANN, ITEMS)
        store.delete(ANN)
    assert one.ahead.settle(GENEROUS_S)
    assert kept(encodings) == 0


def test_a_failure_is_logged_and_the_next_ones_are_encoded(begin, encodings, store, caplog, monkeypatch):
    store.put_histories({ANN: ITEMS, BOB: ITEMS})
    put, failed = EncodingStore.put, threading.Event()

    def fails_once(self, encoder, encoded):
        if failed.is_set():
            return put(self, encoder, encoded)
        failed.set()
        raise StoreError("no route to the store")

    monkeypatch.setattr(EncodingStore, "put", fails_once)
    one = begin()
    one.ahead.note(ANN, ITEMS)
    assert one.ahead.settle(GENEROUS_S)
    one.ahead.note(BOB, ITEMS)
    assert one.ahead.settle(GENEROUS_S)
    assert (kept(encodings), kept(encodings, BOB), one.dropped) == (0, 5, [5])
    assert "no route to the store" in caplog.text


def test_of_who_was_imported_the_newest_items_are_encoded_for_either_role(begin, encodings, store):
    store.put_histories({ANN: ITEMS, BOB: ITEMS[:1]})
    first = begin(RERANKER, every_s=0.01)
    until(lambda: (kept(encodings), kept(encodings, BOB)) == (3, 1), "encodings")
    # What one role has encoded hides nobody from the other.
    begin(ADAPTER, every_s=0.01, encoder=first.encoder)
    until(lambda: (kept(encodings), kept(encodings, BOB)) == (6, 2), "encodings")


def test_where_all_answers_compete_an_adapter_looks_for_nobody(begin, store, tag_task, monkeypatch):
    store.put_histories({ANN: ITEMS})
    looked, ended, end = [], threading.Event(), Rounds.end
    monkeypatch.setattr(EncodingStore, "users", lambda *asked, **most: looked.append(asked) or [])
    monkeypatch.setattr(Rounds, "end", lambda self: (end(self), ended.set()))
    begin(ADAPTER, every_s=0.01, task=tag_task, most=100)
    assert ended.wait(GENEROUS_S)
    assert looked == []


def test_users_whose_items_fail_hide_nobody(begin, encodings, store, monkeypatch):
    store.put_histories({ANN: ITEMS, BOB: ITEMS})
    put = EncodingStore.put

    def fails(self, encoder, encoded):
        if ANN in encoded:
            raise StoreError("no room for her")
        return put(self, encoder, encoded)

    monkeypatch.setattr(EncodingStore, "put", fails)
    begin(every_s=0.01, users=100)
    until(lambda: kept(encodings, BOB) == 3, "encodings")


def test_nobody_is_looked_for_while_a_request_is_here(begin, store, monkeypatch):
    store.put_histories({ANN: ITEMS})
    go, due, looked = threading.Event(), threading.Event(), threading.Event()
    monkeypatch.setattr(Rounds, "left_s", lambda _: 0.0 if go.is_set() else 0.01)
    monkeypatch.setattr(Rounds, "begin", lambda _: due.set())
    monkeypatch.setattr(EncodingStore, "users", lambda *_, **__: looked.set() or [])
    one = begin()
    with one.ahead.request():
        go.set()
        assert due.wait(GENEROUS_S)
        assert not looked.wait(0.2)
    assert looked.wait(GENEROUS_S)


def test_what_is_told_goes_before_a_long_history_that_was_found(begin, encodings, store, monkeypatch):
    monkeypatch.setattr(module, "_ITEMS", 1)
    store.put_histories({ANN: ITEMS, BOB: ITEMS})
    put, order, told = EncodingStore.put, [], []

    def noted(self, encoder, encoded):
        order.extend(encoded)
        if not told:
            told.append(begun[0].ahead.note(BOB, ITEMS[:2]))
        return put(self, encoder, encoded)

    monkeypatch.setattr(EncodingStore, "put", noted)
    begun = []
    monkeypatch.setattr(Rounds, "left_s", lambda _: 0.0 if begun else 0.01)
    begun.append(begin(users=1))
    until(lambda: (kept(encodings), kept(encodings, BOB)) == (3, 5), "encodings")
    assert order[:4] == [ANN, BOB, BOB, ANN]


def test_answers_that_are_encoded_for_everybody_are_not_read_of_items(tag_task):
    items = [
        HistoryItem("a", "one", "drama"),
        HistoryItem("b", "two", "a word of their own"),
        HistoryItem("c", "three", ""),
    ]
    assert [one.text for one in ReadTexts(ADAPTER, tag_task, 100)(items)] == ["a word of their own"]
    assert [one.text for one in ReadTexts(ADAPTER, tag_task, 2)(items)] == ["drama", "a word of their own"]
