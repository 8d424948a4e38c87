"""Records and what came online are one history: nothing is lost or there twice, what was deleted stays away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.dates import in_order
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.store.types import FeedbackEvent, MergeReport, Tombstone

ANN, BOB, NAMESAKE = UserKey("acme", "ann"), UserKey("acme", "bob"), UserKey("zeta", "ann")


def say(store, key, event):
    """What a learner writes of an event, without heads."""
    with store.updating_observations(key, "v1", "adapter") as update:
        if event.item is None:
            update.delete_item(event.item_id)
        else:
            update.append_history(event.item)
        update.put_event(event)


def test_what_came_online_stays_and_records_are_added(store, item):
    store.put_histories({ANN: [item("a", ts="2026-01-01"), item("b", ts="2026-01-02")]})
    store.append_history(ANN, item("online", ts="2026-01-05"))
    records = [item("a", ts="2026-01-01"), item("b", ts="2026-01-02"), item("c", ts="2026-01-09")]
    report = store.merge_histories({ANN: records, BOB: [item("a")]})
    assert [one.id for one in store.history(ANN)] == ["a", "b", "online", "c"]
    assert store.history(BOB) == (item("a"),)
    assert report == MergeReport(users=2, added=2, kept=1)


def test_a_history_that_only_grew_keeps_its_epoch_and_an_equal_one_its_version(store, item):
    store.put_histories({ANN: [item("a", ts="2026-01-01")]})
    store.append_history(ANN, item("online", ts="2026-01-05"))
    before = store.history_version(ANN)
    assert store.merge_histories({ANN: [item("a", ts="2026-01-01")]}) == MergeReport(kept=1)
    assert store.history_version(ANN) == before
    store.merge_histories({ANN: [item("a", ts="2026-01-01"), item("c", ts="2026-01-09")]})
    change = store.history_change(ANN, before)
    assert (change.is_whole, [one.id for _, one in change.added], change.left) == (False, ["c"], None)


def test_a_record_that_is_older_than_what_came_online_stands_before_it(store, item):
    store.put_histories({ANN: [item("a", ts="2026-01-01")]})
    store.append_history(ANN, item("online", ts="2026-01-05"))
    store.merge_histories({ANN: [item("a", ts="2026-01-01"), item("b", ts="2026-01-03")]})
    assert [one.id for one in store.history(ANN)] == ["a", "b", "online"]


def test_a_record_that_changed_is_updated_and_one_that_is_gone_stays(store, item):
    store.put_histories({ANN: [item("a", "old"), item("b")]})
    report = store.merge_histories({ANN: [item("a", "new")]})
    assert store.history(ANN) == (item("a", "new"), item("b"))
    assert (report.added, report.updated, report.kept) == (0, 1, 1)


def test_what_the_user_said_of_an_item_counts_more_than_the_records(store, item):
    store.put_histories({ANN: [item("a", "old"), item("b", "old"), item("c", "old")]})
    say(store, ANN, FeedbackEvent("a", "a", "edited", "hers"))
    say(store, ANN, FeedbackEvent("b", "b", "rejected", "old"))
    store.merge_histories({ANN: [item(name, "old") for name in "abc"]})
    assert sorted(store.history(ANN), key=lambda one: one.id) == [item("a", "hers"), item("c", "old")]


def test_records_in_an_order_of_their_own_keep_it(store, item):
    records = [item("b", ts="2003"), item("a", ts="2001"), item("c")]
    store.merge_histories({ANN: records})
    assert store.history(ANN) == tuple(records)


def test_who_was_deleted_stays_so_whatever_the_records_hold(store, item):
    records = {ANN: [item("a"), item("b")], BOB: [item("a"), item("b")], NAMESAKE: [item("a")]}
    store.merge_histories(records)
    store.delete(ANN)
    store.delete_item(BOB, "b")
    for replace in (False, True):
        report = store.merge_histories(records, replace)
        assert (report.deleted_users, report.deleted_items) == (1, 1)
        assert (store.history(ANN), store.history(BOB)) == ((), (item("a"),))
        assert store.history(NAMESAKE) == (item("a"),)
    assert [(key, name) for key, name, *_ in store.tombstones("acme")] == [(ANN, ""), (BOB, "b")]
    assert store.undelete(ANN) is store.undelete(BOB, "b") is True
    assert store.undelete(ANN) is store.undelete(BOB, "b") is False
    store.merge_histories(records)
    assert store.history(ANN) == store.history(BOB) == (item("a"), item("b"))


def test_who_comes_back_online_comes_without_the_old_records(store, item):
    store.merge_histories({ANN: [item("a")]})
    store.delete(ANN)
    say(store, ANN, FeedbackEvent("new", "a film", "accepted", "drama"))
    store.merge_histories({ANN: [item("a")]})
    assert [one.id for one in store.history(ANN)] == ["new"]
    store.undelete(ANN)
    store.merge_histories({ANN: [item("a")]})
    assert sorted(one.id for one in store.history(ANN)) == ["a", "new"]


def test_tombstones_of_another_store_hold_here_too(store, item):
    store.merge_histories({ANN: [item("a")], BOB: [item("a"), item("b")]})
    others = [Tombstone(ANN, "", "2026", ""), Tombstone(BOB, "b", "2026", "")]
    store.put_tombstones(others)
    store.put_tombstones(others)
    assert store.tombstones("acme") == others
    report = store.merge_histories({ANN: [item("a"), item("c")], BOB: [item("b", "new")]})
    assert (report.deleted_users, report.deleted_items, report.users) == (1, 1, 0)


def test_an_item_that_is_said_again_is_not_deleted_any_more(store, item):
    store.put_histories({ANN: [item("a")]})
    store.delete_item(ANN, "a")
    say(store, ANN, FeedbackEvent("a", "a film", "accepted", "drama"))
    assert store.tombstones("acme") == []
    assert [one.output for one in store.history(ANN)] == ["drama"]


def test_nobody_knows_what_was_never_there(store):
    assert store.delete_item(ANN, "a") is False
    assert store.tombstones("acme") == []
    store.delete(ANN)
    assert [key for key, *_ in store.tombstones("acme")] == [ANN], "their records may come any day"
    assert store.tombstones("zeta") == []


def numbered(*films, first=0):
    """Records without ids of their own: places number them."""
    return [
        HistoryItem(f"ann-{place}", f"a film about {film}", "drama", f"2026-01-{day:02d}")
        for place, (day, film) in enumerate(films, first)
    ]


def films(store, key=ANN):
    return [one.input.removeprefix("a film about ") for one in store.history(key)]


CATS, DOGS, BIRDS, FISH = (1, "cats"), (3, "dogs"), (5, "birds"), (7, "fish")


def test_records_that_places_number_are_not_there_twice_however_they_are_numbered(store):
    store.merge_histories({ANN: numbered(CATS, BIRDS)})
    say(store, ANN, FeedbackEvent("said", "a film", "accepted", "drama", ts="2026-01-06"))
    store.merge_histories({ANN: numbered(CATS, DOGS, BIRDS, FISH)})
    assert [one.id for one in store.history(ANN)] == ["ann-0", "ann-1", "ann-2", "said", "ann-3"]
    # The first ones are not in the records any more.
    store.merge_histories({ANN: numbered(BIRDS, FISH)})
    assert sorted(film for film in films(store) if film != "a film") == ["birds", "fish"]


def test_an_item_that_was_deleted_stays_away_under_another_number(store):
    store.merge_histories({ANN: numbered(CATS, BIRDS, FISH)})
    assert store.delete_item(ANN, "ann-1")
    for records in (numbered(CATS, BIRDS, FISH), numbered(CATS, DOGS, BIRDS, FISH), numbered(BIRDS, FISH)):
        store.merge_histories({ANN: records})
        assert "birds" not in films(store)
    store.merge_histories({ANN: numbered(CATS, DOGS, BIRDS, FISH)})
    assert sorted(films(store)) == ["cats", "dogs", "fish"], "no other item is taken for it"


@pytest.mark.parametrize("ts", [None, "2026-01-03"])
def test_what_was_said_online_and_is_in_the_records_too_is_one_item(store, ts):
    store.merge_histories({ANN: numbered(CATS)})
    say(store, ANN, FeedbackEvent("said", "a film about dogs", "accepted", "drama", ts=ts))
    for _ in range(2):
        store.merge_histories({ANN: numbered(CATS, DOGS)})
        assert [one.id for one in store.history(ANN)] == ["ann-0", "said"]
    # Said on another day it is another one.
    again = HistoryItem("7", "a film about dogs", "drama", "2026-02-02")
    store.merge_histories({ANN: [*numbered(CATS, DOGS), again]})
    assert [one.id for one in store.history(ANN)] == ["ann-0", "said", "7"]


def test_replacing_says_what_goes_and_takes_feedback_events_with_it(store, item):
    store.merge_histories({key: [item("a"), item("b")] for key in (ANN, BOB, NAMESAKE)})
    for number in range(3):
        say(store, ANN, FeedbackEvent(f"online {number}", "a film", "accepted", "drama"))
    say(store, BOB, FeedbackEvent("no", "a film", "rejected", "drama"))
    report = store.merge_histories({ANN: [item("a")], BOB: [item("a"), item("b")]}, replace=True)
    assert (report.removed, report.events, report.losers) == (4, 4, {ANN: 7, BOB: 1})
    assert (store.history(ANN), store.history(BOB)) == ((item("a"),), (item("a"), item("b")))
    assert store.feedback_events([ANN, BOB]) == {}
    assert store.history(NAMESAKE) == (item("a"), item("b"))


def test_two_records_of_one_id_are_refused(store, item):
    with pytest.raises(ValueError, match="same id"):
        store.merge_histories({ANN: [item("a"), item("a", "other")]})
    assert store.history(ANN) == ()


ids, outputs, dates = st.sampled_from("abcdef"), st.sampled_from(["drama", "comedy"]), st.sampled_from(["2001", "2002"])
items = st.builds(lambda name, output, ts: HistoryItem(name, f"film {name}", output, ts), ids, outputs, dates)
unique = st.lists(items, max_size=5, unique_by=lambda item: item.id)


@given(first=unique, online=st.lists(items, max_size=3), deleted=st.lists(ids, max_size=2), second=unique)
def test_a_merge_is_the_union_without_what_was_deleted(lasting, first, online, deleted, second):
    lasting.delete(ANN)
    for key, name, *_ in lasting.tombstones("acme"):
        lasting.undelete(key, name)
    lasting.merge_histories({ANN: first})
    truth = {one.id: one for one in first}
    for one in online:
        lasting.append_history(ANN, one)
        truth[one.id] = one
    gone = {name for name in deleted if lasting.delete_item(ANN, name)}
    before, since = lasting.history(ANN), lasting.history_version(ANN)
    lasting.merge_histories({ANN: second})
    expected = {name: one for name, one in truth.items() if name not in gone}
    expected |= {one.id: one for one in second if one.id not in gone}
    found = lasting.history(ANN)
    assert {one.id: one for one in found} == expected
    assert len(found) == len(expected), "nothing is there twice"
    if found[: len(before)] == before and since is not None:
        assert lasting.history_version(ANN).epoch == since.epoch, "what only grew is read on from where it was"
    again = lasting.history_version(ANN)
    lasting.merge_histories({ANN: second})
    assert lasting.history_version(ANN) == again
    if {one.id for one in found} - {one.id for one in second} and found != before:
        assert found == tuple(in_order(found, lambda one: one.ts))
