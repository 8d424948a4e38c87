"""What every store must do for its users' rights, whatever keeps them."""

import pytest
import torch

from hydra_ray.models.heads import Head
from hydra_ray.records import HistoryItem, HydraError, UserKey
from hydra_ray.store.backends import open_store
from hydra_ray.store.rights.protocol import OUTLIVE
from hydra_ray.store.types import ProfileFingerprint, UserProfile

ANN, BOB, NAMESAKE = UserKey("acme", "ann"), UserKey("acme", "bob"), UserKey("zeta", "ann")
ITEMS = [HistoryItem("b", "second", "x", "2026"), HistoryItem("a", "first", "y")]
MADE_FROM = ProfileFingerprint("h", "w", 2)


@pytest.fixture
def known(store):
    store.put_histories(dict.fromkeys((ANN, BOB, NAMESAKE), ITEMS))
    store.put_heads("v1", "adapter", dict.fromkeys((ANN, BOB), Head("dense", {"w": torch.ones(2)})))
    store.put_heads("v1", "reranker", {ANN: None})
    store.put_observations("v1", "adapter", {ANN: {"a": b"told", "b": b"more"}})
    store.put_profiles([(ANN, UserProfile("pag", "Patient.", MADE_FROM))])
    store.put_profiles([(BOB, UserProfile("dpl", "Unlike ann.", MADE_FROM, (ANN,)))])
    return store


def everything(store, key):
    head = store.head(key, "v1", "adapter")
    return (
        store.history(key),
        head and head.tensors["w"].tolist(),
        store.observations([key], "v1", "adapter"),
        [store.profile(key, kind) for kind in ("pag", "dpl")],
        store.records.is_personalised(key),
    )


def test_deletion_says_what_there_was(known):
    counts = known.delete(ANN)
    told = ("history", "heads", "evidence", "profiles", "profiles_of_others")
    assert [counts[name] for name in told] == [2, 2, 2, 1, 1]
    assert not any(known.delete(ANN).values())
    assert len(known.history(BOB)) == len(known.history(NAMESAKE)) == 2
    assert known.profile(BOB, "dpl") is None


def test_a_user_is_put_back_as_they_were(known, store_url):
    known.records.personalise(ANN, False)
    before, rows, counts = everything(known, ANN), known.records.rows(ANN), known.records.counts(ANN)
    stamps = known.stamps([ANN], "v1", "adapter"), known.history_version(ANN)
    with pytest.raises(HydraError, match="known of them already"):
        known.records.put_rows(ANN, rows)
    known.delete(ANN)
    with pytest.raises(HydraError, match="table 'diaries'"):
        known.records.put_rows(ANN, {**rows, "diaries": []})
    assert not any(count for name, count in known.records.counts(ANN).items() if name not in OUTLIVE)
    known.records.put_rows(ANN, rows)
    other = open_store(store_url)
    assert everything(other, ANN) == before
    assert other.records.counts(ANN) == counts
    # What others keep in memory is not taken for this.
    assert other.stamps([ANN], "v1", "adapter") != stamps[0]
    assert other.history_version(ANN) != stamps[1]
    other.close()


def test_who_switches_personalisation_off_stays_so_until_they_say_otherwise(store, store_url):
    other = open_store(store_url)
    for wanted in (True, False, False, True, False):
        store.records.personalise(ANN, wanted)
        assert other.records.is_personalised(ANN) is wanted
        assert other.records.is_personalised(BOB) is other.records.is_personalised(NAMESAKE) is True
    assert other.records.users() == [ANN]
    store.delete(ANN)
    assert other.records.is_personalised(ANN)
    other.close()


def test_who_switches_personalisation_off_is_in_no_profile_of_others(known):
    unlike_ann = UserProfile("dpl", "Unlike ann.", MADE_FROM, (ANN,))
    known.records.personalise(ANN, False)
    assert known.profile(BOB, "dpl") is None
    assert known.profile(ANN, "pag") is not None
    # Nor in one that was being written meanwhile.
    assert known.put_profiles([(BOB, unlike_ann)]) == 0
    assert known.profile(BOB, "dpl") is None
    known.records.personalise(ANN, True)
    assert known.put_profiles([(BOB, unlike_ann)]) == 1


def test_heads_dates_and_texts_are_told_of_everybody(known):
    assert [(one.version, one.role) for one in known.records.head_entries(ANN)] == [("v1", "adapter")]
    assert known.records.users() == [ANN, BOB, NAMESAKE]
    found = {(one.key, one.item_id): one.ts for one in known.records.stored_items()}
    assert found == {(key, item.id): item.ts for key in (ANN, BOB, NAMESAKE) for item in ITEMS}
    texts = {(one.key, one.table, one.text) for one in known.records.texts()}
    assert {(ANN, "history", "second"), (NAMESAKE, "history", "y"), (BOB, "profiles", "Unlike ann.")} <= texts
