from threading import Thread

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from hydra_ray.models.heads import Head
from hydra_ray.records import UserKey

ANN, BOB = UserKey("acme", "ann"), UserKey("acme", "bob")
ABOUT = ("v1", "adapter")

ids = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
observed = st.dictionaries(ids, st.binary(max_size=8), max_size=5)


def head(value):
    return Head("bases", {"mean": torch.tensor([float(value)])}, {"pull": 0.05})


@pytest.fixture
def store(store):
    store.put_observations(*ABOUT, {ANN: {"b": b"2", "a": b"1"}, BOB: {"a": b"his"}})
    store.put_heads(*ABOUT, {ANN: head(12)}, {ANN: "two items"})
    return store


def observations(store, key, version="v1", role="adapter"):
    with store.updating_observations(key, version, role) as update:
        return update.all()


@given(by_item=observed, more=observed, key=st.builds(UserKey, ids, ids))
def test_evidence_comes_back_in_the_order_of_its_items(lasting, by_item, more, key):
    lasting.put_observations(*ABOUT, {key: by_item})
    assert observations(lasting, key) == [blob for _, blob in sorted(by_item.items(), key=lambda one: one[0].encode())]
    with lasting.updating_observations(key, *ABOUT) as update:
        for item_id, blob in more.items():
            update.put(item_id, blob)
    assert sorted(observations(lasting, key)) == sorted((by_item | more).values())


def test_new_evidence_takes_the_place_of_the_old(store):
    store.put_observations(*ABOUT, {ANN: {"c": b"3"}})
    assert observations(store, ANN) == [b"3"]
    store.put_observations(*ABOUT, {ANN: {}})
    assert observations(store, ANN) == []
    assert observations(store, BOB) == [b"his"]


def test_each_version_and_role_has_evidence_of_its_own(store):
    store.put_observations("v2", "adapter", {ANN: {"a": b"other"}})
    assert observations(store, ANN) == [b"1", b"2"]
    assert observations(store, ANN, "v2") == [b"other"]
    assert observations(store, ANN, "v1", "reranker") == []


def test_it_is_known_where_there_is_evidence_of_an_item(store):
    store.put_observations("v2", "reranker", {ANN: {"a": b"other", "c": b"3"}})
    assert store.observed_by(ANN, "a") == [("v1", "adapter"), ("v2", "reranker")]
    assert store.observed_by(ANN, "b") == [("v1", "adapter")]
    assert store.observed_by(BOB, "b") == store.observed_by(ANN, "%") == []


def test_evidence_and_head_change_together(store):
    before = store.stamps([ANN], *ABOUT)
    with store.updating_observations(ANN, *ABOUT) as update:
        update.put("c", b"3")
        update.put("a", b"1 again")
        assert update.remove("b") is True
        assert update.remove("b") is False
        assert update.all() == [b"1 again", b"3"]
        assert_close(update.head().tensors, head(12).tensors)
        update.put_head(head(13))
        assert_close(update.head().tensors, head(13).tensors)
    assert observations(store, ANN) == [b"1 again", b"3"]
    assert observations(store, BOB) == [b"his"]
    assert_close(store.head(ANN, *ABOUT).tensors, head(13).tensors)
    assert store.stamps([ANN], *ABOUT) != before
    # The next fit must not take it for one of what was fitted from.
    assert store.head_fingerprints(*ABOUT)[ANN] == ""


def test_an_update_that_leaves_nothing_removes_the_head(store):
    with store.updating_observations(ANN, *ABOUT) as update:
        update.remove("a")
        update.remove("b")
        update.put_head(None)
    assert store.head(ANN, *ABOUT) is None
    with store.updating_observations(ANN, *ABOUT) as update:
        assert update.head() is None


def test_an_error_rolls_evidence_history_and_head_back(store, item):
    before = store.stamps([ANN], *ABOUT)
    store.put_histories({ANN: [item("a")]})

    def fail():
        with store.updating_observations(ANN, *ABOUT) as update:
            update.put("c", b"3")
            update.remove("a")
            update.delete_item("a")
            update.append_history(item("c"))
            update.put_head(head(23))
            raise RuntimeError("no posterior")

    with pytest.raises(RuntimeError, match="no posterior"):
        fail()
    assert observations(store, ANN) == [b"1", b"2"]
    assert store.history(ANN) == (item("a"),)
    assert store.stamps([ANN], *ABOUT) == before
    assert_close(store.head(ANN, *ABOUT).tensors, head(12).tensors)


def test_an_update_is_seen_by_others_once_it_is_whole(store):
    with store.updating_observations(ANN, *ABOUT) as update:
        update.put("c", b"3")
        update.put_head(head(13))
        assert_close(store.head(ANN, *ABOUT).tensors, head(12).tensors)
    assert_close(store.head(ANN, *ABOUT).tensors, head(13).tensors)


def test_updates_at_the_same_time_follow_each_other(store):
    def tell(number):
        with store.updating_observations(ANN, *ABOUT) as update:
            update.put(f"item {number}", b"told")
            # As an update does: the head follows from all that is told by then.
            update.put_head(head(len(update.all())))

    threads = [Thread(target=tell, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(observations(store, ANN)) == 10
    assert_close(store.head(ANN, *ABOUT).tensors, head(10).tensors)
