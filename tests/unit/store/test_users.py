import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from hydra_ray.models.heads import Head
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.store.backends import open_store
from hydra_ray.store.types import DeletedMeanwhileError

ANN, BOB = UserKey("acme", "ann"), UserKey("acme", "bob")
HER_NAMESAKE = UserKey("zeta", "ann")
HEAD = Head("lowrank", {"out": torch.tensor([1.0, -2.5]), "project": torch.arange(6.0).view(2, 3)}, {"pull": 0.5})

# Lone surrogates are no text: they cannot be written as UTF-8.
texts = st.text(st.characters(exclude_categories=["Cs"]))
items = st.builds(HistoryItem, texts, texts, texts, st.none() | texts, st.none() | texts, texts)


def number(value):
    """A head that is told apart by one number."""
    return Head("facets", {"mix": torch.tensor([float(value)])})


def same(found, head):
    assert (found.kind, found.about) == (head.kind, head.about)
    assert_close(found.tensors, head.tensors, rtol=0, atol=0)


def observations(store, key, version="v1", role="adapter"):
    with store.updating_observations(key, version, role) as update:
        return update.all()


@given(history=st.lists(items, max_size=6, unique_by=lambda item: item.id), key=st.builds(UserKey, texts, texts))
def test_any_history_comes_back_as_it_was(lasting, history, key):
    lasting.put_histories({key: history})
    assert lasting.history(key) == tuple(history)


def test_a_history_keeps_its_order_whatever_its_ids_and_dates(store, item):
    history = (item("b", ts="2003"), item("10", ts="2001"), item("a"), item("9", ts="2002"))
    store.put_histories({ANN: history})
    assert store.history(ANN) == history


@given(history=st.lists(items, max_size=6, unique_by=lambda item: item.id), key=st.builds(UserKey, texts, texts))
def test_all_histories_of_a_tenant_are_what_each_one_is(lasting, history, key):
    lasting.put_histories({key: history})
    found = lasting.histories(key.tenant)
    assert list(found) == sorted(found)
    assert (key in found) is bool(history)
    assert all(tuple(found[user]) == lasting.history(user) for user in found)


def test_users_of_a_tenant_are_listed_page_by_page(store, item):
    store.put_histories({UserKey("acme", f"u{n}"): [item("a")] for n in range(5)})
    store.put_histories({HER_NAMESAKE: [item("a")], BOB: []})
    pages, after = [], None
    while page := store.users_with_history("acme", after, 2):
        pages.append(page)
        after = page[-1]
    assert pages == [["u0", "u1"], ["u2", "u3"], ["u4"]]


def test_histories_of_some_are_whole_and_nobody_is_left_out(store, item):
    store.put_histories({ANN: [item("a"), item("b")], HER_NAMESAKE: [item("c")]})
    found = store.histories_of([ANN, BOB])
    assert set(found) == {ANN, BOB}
    assert [item.id for _, item in found[ANN].added] == ["a", "b"]
    assert found[ANN].version == store.history_version(ANN)
    assert (found[BOB].version, list(found[BOB].added)) == (None, [])


def test_fingerprints_are_of_those_who_are_looked_at(store):
    store.put_heads("v1", "adapter", {ANN: HEAD, BOB: None}, {ANN: "f1", BOB: "f2"})
    assert store.head_fingerprints("v1", "adapter", [BOB, HER_NAMESAKE]) == {BOB: "f2"}
    assert store.head_fingerprints("v1", "adapter") == {ANN: "f1", BOB: "f2"}


def test_a_new_history_replaces_the_old_one(store, item):
    store.put_histories({ANN: [item("a", "old"), item("b")]})
    store.put_histories({ANN: [item("c"), item("a", "new")]})
    assert store.history(ANN) == (item("c"), item("a", "new"))
    store.put_histories({ANN: []})
    assert store.history(ANN) == ()


def test_a_history_that_cannot_be_written_leaves_the_old_one(store, item):
    store.put_histories({ANN: [item("a")]})
    with pytest.raises(ValueError, match="same id"):
        store.put_histories({ANN: [item("b"), item("b")]})
    assert store.history(ANN) == (item("a"),)


def test_an_item_is_added_at_the_end_whatever_its_date(store, item):
    store.append_history(ANN, item("a", ts="2003"))
    store.append_history(ANN, item("b", ts="2001"))
    store.append_history(BOB, item("a", "his"))
    assert store.history(ANN) == (item("a", ts="2003"), item("b", ts="2001"))
    assert store.history(BOB) == (item("a", "his"),)


def test_an_item_of_the_same_id_is_replaced_and_moves_to_the_end(store, item):
    store.put_histories({ANN: [item("a", "old"), item("b"), item("c")]})
    store.append_history(ANN, item("a", "new"))
    assert store.history(ANN) == (item("b"), item("c"), item("a", "new"))
    store.append_history(ANN, item("a", "newest"))
    assert store.history(ANN) == (item("b"), item("c"), item("a", "newest"))


def test_one_item_is_deleted_and_the_others_keep_their_order(store, item):
    store.put_histories({ANN: [item("a"), item("b"), item("c")]})
    store.put_histories({BOB: [item("b")]})
    assert store.delete_item(ANN, "b") is True
    assert store.delete_item(ANN, "b") is store.delete_item(ANN, "b%") is False
    store.append_history(ANN, item("d"))
    assert store.history(ANN) == (item("a"), item("c"), item("d"))
    assert store.history(BOB) == (item("b"),)


@given(
    history=st.lists(items, max_size=4, unique_by=lambda item: item.id),
    changes=st.lists(st.tuples(st.booleans(), items), max_size=4),
    key=st.builds(UserKey, texts, texts),
)
def test_a_history_is_what_was_added_and_not_deleted(lasting, history, changes, key):
    lasting.put_histories({key: history})
    for added, changed in changes:
        history = [item for item in history if item.id != changed.id]
        if added:
            history.append(changed)
            lasting.append_history(key, changed)
        else:
            lasting.delete_item(key, changed.id)
    assert lasting.history(key) == tuple(history)


def test_users_of_one_name_are_apart_in_each_tenant(store, item):
    store.put_histories({ANN: [item("a", "hers")]})
    store.put_histories({HER_NAMESAKE: [item("a", "another's")]})
    store.put_heads("v1", "adapter", {HER_NAMESAKE: HEAD})
    assert store.history(ANN) == (item("a", "hers"),)
    assert store.head(ANN, "v1", "adapter") is None
    assert store.users_with_head("v1", "adapter") == [HER_NAMESAKE]


def test_an_unknown_user_has_nothing(store):
    assert store.history(ANN) == ()
    assert store.head(ANN, "v1", "adapter") is None
    store.delete(ANN)


def test_a_head_comes_back_as_it_was(store):
    store.put_heads("v1", "adapter", {ANN: HEAD})
    same(store.head(ANN, "v1", "adapter"), HEAD)


def test_each_version_and_role_has_heads_of_its_own(store):
    about = [("v1", "adapter"), ("v1", "reranker"), ("v2", "adapter")]
    for value, (version, role) in enumerate(about):
        store.put_heads(version, role, {ANN: number(value)})
    store.put_heads("v2", "adapter", {BOB: HEAD})
    for value, (version, role) in enumerate(about):
        same(store.head(ANN, version, role), number(value))
    assert store.head(ANN, "v2", "reranker") is None
    assert store.head(BOB, "v1", "adapter") is None
    assert store.users_with_head("v2", "adapter") == [ANN, BOB]
    assert store.users_with_head("v1", "adapter") == [ANN]


def test_a_new_head_replaces_the_old_one_of_its_user_only(store):
    store.put_heads("v1", "adapter", {ANN: HEAD, BOB: HEAD})
    store.put_heads("v1", "adapter", {ANN: number(3)})
    same(store.head(ANN, "v1", "adapter"), number(3))
    same(store.head(BOB, "v1", "adapter"), HEAD)


def test_heads_come_with_a_stamp_that_changes_with_every_write(store):
    store.put_heads("v1", "adapter", {ANN: HEAD, BOB: HEAD})
    store.put_heads("v1", "reranker", {HER_NAMESAKE: HEAD})
    keys = [ANN, BOB, HER_NAMESAKE]
    before = store.stamps(keys, "v1", "adapter")
    assert set(before) == {ANN, BOB}
    assert before[ANN] != before[BOB]
    found = store.heads(keys, "v1", "adapter")
    assert {key: one.stamp for key, one in found.items()} == before
    same(found[BOB].head, HEAD)

    # The same head again is a write, too.
    store.put_heads("v1", "adapter", {ANN: HEAD})
    after = store.stamps(keys, "v1", "adapter")
    assert (after[ANN] != before[ANN], after[BOB] == before[BOB]) == (True, True)
    assert store.stamps([], "v1", "adapter") == store.heads([], "v1", "adapter") == {}


def test_marks_say_what_heads_were_fitted_from(store):
    store.put_heads("v1", "adapter", {BOB: HEAD, ANN: HEAD}, {ANN: "a history"})
    store.put_heads("v1", "reranker", {ANN: HEAD}, {ANN: "another"})
    assert list(store.head_fingerprints("v1", "adapter").items()) == [(ANN, "a history"), (BOB, "")]
    store.put_heads("v1", "adapter", {ANN: HEAD}, {ANN: "a longer history"})
    assert store.head_fingerprints("v1", "adapter")[ANN] == "a longer history"


def test_who_got_no_head_has_a_mark_and_nothing_else(store):
    for version, role in (("v1", "adapter"), ("v1", "reranker")):
        store.put_heads(version, role, {ANN: HEAD, BOB: HEAD})
    store.put_heads("v1", "adapter", {ANN: None}, {ANN: "too little"})
    assert store.head_fingerprints("v1", "adapter") == {ANN: "too little", BOB: ""}
    assert store.users_with_head("v1", "adapter") == [BOB]
    assert store.head(ANN, "v1", "adapter") is None
    assert set(store.stamps([ANN, BOB], "v1", "adapter")) == set(store.heads([ANN, BOB], "v1", "adapter")) == {BOB}
    assert store.users_with_head("v1", "reranker") == [ANN, BOB]


def test_deleting_removes_exactly_one_user(store, item):
    keys = [ANN, BOB, HER_NAMESAKE, UserKey("acme", "ann2"), UserKey("acme", "Ann"), UserKey("acme", "a%")]
    for version, role in (("v1", "adapter"), ("v2", "reranker")):
        store.put_heads(version, role, dict.fromkeys(keys, HEAD))
        store.put_observations(version, role, {key: {"a": b"told"} for key in keys})
    for key in keys:
        store.put_histories({key: [item("a"), item("b")]})
    store.delete(ANN)
    assert store.history(ANN) == ()
    assert observations(store, ANN) == observations(store, ANN, "v2", "reranker") == []
    assert store.head(ANN, "v1", "adapter") is store.head(ANN, "v2", "reranker") is None
    for key in keys[1:]:
        assert len(store.history(key)) == 2
        same(store.head(key, "v1", "adapter"), HEAD)
        same(store.head(key, "v2", "reranker"), HEAD)
        assert observations(store, key) == observations(store, key, "v2", "reranker") == [b"told"]
    store.delete(UserKey("acme", "a%"))
    assert len(store.history(UserKey("acme", "ann2"))) == 2


def test_users_survive_reopening(store, store_url, item):
    store.put_histories({ANN: [item("a")]})
    store.put_heads("v1", "adapter", {ANN: HEAD})
    store.close()
    again = open_store(store_url)
    assert again.history(ANN) == (item("a"),)
    same(again.head(ANN, "v1", "adapter"), HEAD)
    again.close()


def test_histories_of_many_users_are_replaced_together_and_nobody_elses(store, item):
    store.put_histories({HER_NAMESAKE: [item("a", "another's")]})
    many = {UserKey("acme", str(number)): (item("a", str(number)), item("b")) for number in range(1_500)}
    store.put_histories(many)
    store.put_histories({ANN: (item("c"),), UserKey("acme", "7"): ()})
    assert store.history(UserKey("acme", "7")) == ()
    assert store.history(UserKey("acme", "1499")) == (item("a", "1499"), item("b"))
    assert store.history(ANN) == (item("c"),)
    assert store.history(HER_NAMESAKE) == (item("a", "another's"),)
    assert (len(store.histories("acme")), len(store.histories("zeta"))) == (1_500, 1)


def test_an_update_that_began_before_its_user_was_deleted_is_refused(store, item):
    store.put_histories({ANN: [item("a robot", "sci-fi")]})
    seen = store.deletions(ANN)
    store.delete(ANN)
    with pytest.raises(DeletedMeanwhileError, match="ann of tenant acme"):  # noqa: SIM117
        with store.updating_observations(ANN, "v1", "adapter", seen) as update:
            update.append_history(item("cats", "drama"))
    assert store.history(ANN) == ()
    assert store.history_version(ANN) is None
    assert store.deletions(ANN) == seen + 1
    # What begins now, and others' updates, go on.
    for key, number in ((ANN, store.deletions(ANN)), (ANN, None), (BOB, 0)):
        with store.updating_observations(key, "v1", "adapter", number) as update:
            update.append_history(item("dogs", "drama"))
    assert len(store.history(ANN)) == 1
