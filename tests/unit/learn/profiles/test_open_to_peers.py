"""Whose texts a profile of somebody else may be made with."""

from hydra_ray.learn.profiles.job import open_to_peers
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.store.backends import open_store


def test_who_switched_personalisation_off_is_no_peer(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/users.db")
    ann, bob, stranger = UserKey("acme", "ann"), UserKey("acme", "bob"), UserKey("zeta", "ann")
    for key in (ann, bob, stranger):
        store.append_history(key, HistoryItem("1", "a", "b"))
    store.records.personalise(ann, False)
    assert set(open_to_peers(store, "acme")) == {bob}
    store.records.personalise(ann, True)
    assert set(open_to_peers(store, "acme")) == {ann, bob}
    store.close()
