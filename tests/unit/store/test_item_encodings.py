"""Encodings of items belong to their users: there as long as the item says the same, and gone with it."""

import pytest

from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.store.backends import open_store
from hydra_ray.store.schema import open_database
from hydra_ray.store.user_rows.encodings import EncodingStore, ItemEncoding

ANN, BOB = UserKey("acme", "ann"), UserKey("acme", "bob")
A, B = HistoryItem("a", "a", "x"), HistoryItem("b", "b", "y")
# Two texts are read of the first item, one of the second.
ENCODED = (ItemEncoding(A, b"a reads", b"1"), ItemEncoding(A, b"a says", b"2"), ItemEncoding(B, b"b reads", b"3"))
ALL = {one.text: one.vector for one in ENCODED}


@pytest.fixture
def store(url):
    """An empty store in a database, which alone has encodings beside its histories."""
    store = open_store(url)
    yield store
    store.close()


@pytest.fixture
def encodings(url):
    """Encodings beside the histories of `store`."""
    database = open_database(url)
    yield EncodingStore(database)
    database.close()


@pytest.fixture
def filled(store, encodings):
    """Two users with two items each, all encoded."""
    for user in (ANN, BOB):
        store.put_histories({user: [A, B]})
    assert encodings.put("minilm", dict.fromkeys((ANN, BOB), ENCODED)) == 2 * len(ENCODED)
    return encodings


def test_what_was_kept_is_found_by_user_encoder_and_text(filled):
    assert filled.find(ANN, "minilm", [*ALL, b"never encoded"]) == ALL
    assert filled.find(ANN, "minilm", [b"b reads"]) == {b"b reads": b"3"}
    assert filled.find(ANN, "another", list(ALL)) == {}
    assert filled.find(UserKey("zeta", "ann"), "minilm", list(ALL)) == {}
    assert filled.kept([ANN, UserKey("zeta", "ann")]) == {ANN: set(ALL)}


def test_encodings_of_several_encoders_stand_beside_each_other(filled):
    assert filled.put("another", {ANN: [ItemEncoding(A, b"a reads", b"9")]}) == 1
    assert filled.find(ANN, "minilm", [b"a reads"]) == {b"a reads": b"1"}
    assert filled.find(ANN, "another", [b"a reads"]) == {b"a reads": b"9"}
    filled.put("another", {ANN: [ItemEncoding(A, b"a reads", b"8")]})
    assert filled.find(ANN, "another", [b"a reads"]) == {b"a reads": b"8"}


@pytest.mark.parametrize("item", [HistoryItem("deleted meanwhile", "a", "x"), HistoryItem("a", "a", "said anew")])
def test_what_is_not_in_the_history_as_it_was_encoded_is_not_kept(filled, item):
    assert filled.put("minilm", {ANN: [ItemEncoding(item, b"late", b"1")]}) == 0
    assert filled.find(ANN, "minilm", [b"late"]) == {}


@pytest.mark.parametrize("how", ["deleted", "said again", "replaced"])
def test_encodings_go_with_their_item_alone(filled, store, item, how):
    if how == "deleted":
        store.delete_item(ANN, "a")
    elif how == "said again":
        store.append_history(ANN, item("a", "something else"))
    else:
        store.put_histories({ANN: [item("a", "something else"), B]})
    assert filled.find(ANN, "minilm", list(ALL)) == {b"b reads": b"3"}
    assert filled.find(BOB, "minilm", list(ALL)) == ALL


def test_more_items_leave_encodings_where_they_are(filled, store, item):
    store.put_histories({ANN: [A, B, item("c", "z")]})
    assert filled.find(ANN, "minilm", list(ALL)) == ALL


def test_encodings_go_with_their_user(filled, store):
    assert store.delete(ANN)["item_encodings"] == len(ALL)
    assert filled.find(ANN, "minilm", list(ALL)) == {}
    assert store.records.counts(BOB)["item_encodings"] == len(ALL)


def test_of_who_switched_personalisation_off_nothing_is_kept(store, encodings):
    store.put_histories({ANN: [A, B], BOB: [A, B]})
    store.records.personalise(ANN, False)
    assert encodings.put("minilm", dict.fromkeys((ANN, BOB), ENCODED)) == len(ENCODED)
    assert encodings.kept([ANN, BOB]).keys() == {BOB}


def test_users_are_gone_through_in_an_order_that_stays(filled, store, item):
    new, off, gone = (UserKey("acme", name) for name in ("new", "off", "gone"))
    store.put_histories({user: [item("c")] for user in (new, off, gone, UserKey("zeta", "ann"))})
    store.records.personalise(off, False)
    store.delete_item(gone, "c")
    assert filled.users(["acme"], None, 10) == [ANN, BOB, new]
    assert filled.users(["acme"], None, 2) == [ANN, BOB]
    assert filled.users(["acme", "zeta"], BOB, 2) == [new, UserKey("zeta", "ann")]
    assert filled.users(["acme", "zeta"], UserKey("zeta", "ann"), 2) == []
    assert filled.users([], None, 10) == []


def test_of_a_long_history_the_newest_items_are_read(store, encodings, item):
    items = [item(f"item {number}") for number in range(5)]
    store.put_histories({ANN: items})
    assert encodings.newest(ANN, 2) == [items[4], items[3]]
    assert encodings.newest(BOB, 2) == []


def test_items_are_found_by_what_they_say(filled, store):
    assert filled.saying(ANN, ["x", "never said"]) == [A]
    assert filled.saying(ANN, []) == []


def test_thousands_of_items_are_asked_for_and_written(encodings, store, item):
    items = [item(f"item {number}") for number in range(1_200)]
    store.put_histories(dict.fromkeys((ANN, BOB), items))
    encoded = [ItemEncoding(one, one.id.encode(), b"1") for one in items]
    assert encodings.put("minilm", {ANN: encoded, BOB: encoded}) == 2 * len(items)
    assert len(encodings.find(ANN, "minilm", [one.text for one in encoded])) == len(items)
    assert len(encodings.kept([ANN, BOB])[BOB]) == len(items)
