"""Encodings of items belong to their users: there as long as the item says the same, and gone with it."""

import pytest

from hydra_ray.records import UserKey
from hydra_ray.store.backends import open_store
from hydra_ray.store.schema import open_database
from hydra_ray.store.user_rows.encodings import EncodingStore, ItemEncoding

ANN, BOB = UserKey("acme", "ann"), UserKey("acme", "bob")
ONE, TWO = ItemEncoding(b"digest 1", b"vector 1"), ItemEncoding(b"digest 2", b"vector 2")


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
def filled(store, encodings, item):
    """Two users with two items each, all encoded."""
    for user in (ANN, BOB):
        store.put_histories({user: [item("a", "x"), item("b", "y")]})
        assert encodings.put(user, "minilm", {"a": ONE, "b": TWO}) == 2
    return encodings


def test_what_was_kept_is_found_by_user_encoder_and_item(filled):
    assert filled.find(ANN, "minilm", ["b", "a", "c"]) == {"a": ONE, "b": TWO}
    assert filled.find(ANN, "another", ["a"]) == {}
    assert filled.find(UserKey("zeta", "ann"), "minilm", ["a"]) == {}


def test_encodings_of_several_encoders_stand_beside_each_other(filled):
    assert filled.put(ANN, "another", {"a": TWO}) == 1
    assert filled.find(ANN, "minilm", ["a"]) == {"a": ONE}
    assert filled.find(ANN, "another", ["a"]) == {"a": TWO}
    filled.put(ANN, "another", {"a": ONE})
    assert filled.find(ANN, "another", ["a"]) == {"a": ONE}


def test_what_is_not_in_the_history_is_not_kept(filled, store):
    assert filled.put(ANN, "minilm", {"deleted meanwhile": ONE}) == 0
    assert filled.find(ANN, "minilm", ["deleted meanwhile"]) == {}


@pytest.mark.parametrize("how", ["deleted", "said again", "replaced"])
def test_an_encoding_goes_with_its_item_alone(filled, store, item, how):
    if how == "deleted":
        store.delete_item(ANN, "a")
    elif how == "said again":
        store.append_history(ANN, item("a", "something else"))
    else:
        store.put_histories({ANN: [item("a", "something else"), item("b", "y")]})
    assert filled.find(ANN, "minilm", ["a", "b"]) == {"b": TWO}
    assert filled.find(BOB, "minilm", ["a", "b"]) == {"a": ONE, "b": TWO}


def test_more_items_leave_encodings_where_they_are(filled, store, item):
    store.put_histories({ANN: [item("a", "x"), item("b", "y"), item("c", "z")]})
    assert filled.find(ANN, "minilm", ["a", "b"]) == {"a": ONE, "b": TWO}


def test_encodings_go_with_their_user(filled, store):
    assert store.delete(ANN)["item_encodings"] == 2
    assert filled.find(ANN, "minilm", ["a", "b"]) == {}
    assert store.records.counts(BOB)["item_encodings"] == 2


def test_thousands_of_items_are_asked_for_and_written(encodings, store, item):
    ids = [f"item {number}" for number in range(1_200)]
    store.put_histories({ANN: [item(one) for one in ids]})
    assert encodings.put(ANN, "minilm", dict.fromkeys(ids, ONE)) == len(ids)
    assert encodings.find(ANN, "minilm", ids).keys() == set(ids)
