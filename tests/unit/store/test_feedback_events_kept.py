"""What users said is kept as they said it, apart for each user and tenant, and goes with what it is about."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.models.heads import Head
from hydra_ray.records import UserKey
from hydra_ray.store.types import FeedbackEvent, FittedUser, Seen

ANN, BOB, NAMESAKE = UserKey("acme", "ann"), UserKey("acme", "bob"), UserKey("zeta", "ann")
HEAD = Head("facets", {"mix": torch.tensor([1.0])})
ACCEPTED = FeedbackEvent("e", "a film", "accepted", "drama", ("drama", "comedy"), "2026-05-01", (3, 1))
REJECTED = replace(ACCEPTED, item_id="r", said="rejected", votes=())


def say(store, key, *events):
    for event in events:
        with store.updating_observations(key, "v1", "adapter") as update:
            if event.item is not None:
                update.append_history(event.item)
            update.put_event(event)


def kept(store, *keys):
    """Events without the server's time."""
    found = store.feedback_events(keys)
    return {key: [replace(event, said_at="") for event in events] for key, events in found.items()}


texts = st.text(st.characters(exclude_categories=["Cs"]))
offers = st.lists(st.tuples(texts, st.integers(0, 99)), max_size=4)
events = st.builds(
    lambda name, asked, said, text, offer, counted, ts, more, history: FeedbackEvent(
        name,
        asked,
        said,
        text,
        tuple(one for one, _ in offer),
        ts,
        tuple(votes for _, votes in offer) if counted else (),
        *more,
        tuple(history),
        "v1",
    ),
    texts,
    texts,
    st.sampled_from(["accepted", "edited", "rejected"]),
    texts,
    offers,
    st.booleans(),
    st.none() | texts,
    st.tuples(st.none() | texts, st.none() | texts, st.none() | st.floats(0, 1)),
    st.lists(texts, max_size=3),
)


@given(said=st.lists(events, max_size=5, unique_by=lambda event: event.item_id), key=st.builds(UserKey, texts, texts))
def test_any_event_comes_back_as_it_was_said(lasting, said, key):
    lasting.delete(key)
    say(lasting, key, *said)
    found = kept(lasting, key).get(key, [])
    assert found == said, "and in that order"


def test_the_server_dates_what_is_said(store):
    say(store, ANN, ACCEPTED, REJECTED)
    first, second = store.feedback_events([ANN])[ANN]
    assert "" < first.said_at < second.said_at


def test_a_later_event_of_an_id_takes_the_place_of_the_former(store):
    say(store, ANN, ACCEPTED, replace(ACCEPTED, said="rejected"))
    assert kept(store, ANN) == {ANN: [replace(ACCEPTED, said="rejected")]}


def test_tenants_and_users_are_apart(store):
    for key in (ANN, BOB, NAMESAKE):
        say(store, key, replace(ACCEPTED, text=str(key)))
    assert kept(store, ANN, NAMESAKE).keys() == {ANN, NAMESAKE}


def test_deleting_an_item_deletes_its_event_also_of_a_rejection(store):
    for key in (ANN, BOB):
        say(store, key, ACCEPTED, REJECTED)
    assert store.delete_item(ANN, "e") is store.delete_item(ANN, "r") is True
    assert store.delete_item(ANN, "r") is False
    assert kept(store, ANN, BOB) == {BOB: [ACCEPTED, REJECTED]}


def test_deleting_a_user_deletes_all_events(store):
    for key in (ANN, BOB, NAMESAKE):
        say(store, key, ACCEPTED, REJECTED)
    store.delete(ANN)
    assert kept(store, ANN, BOB, NAMESAKE).keys() == {BOB, NAMESAKE}


def test_who_was_deleted_before_a_fit_read_them_gets_no_rows(store, item):
    for key in (ANN, BOB):
        store.put_histories({key: [item("a")]})
    store.delete(ANN)
    fitted = {key: FittedUser(None, "made from", seen(store, key), {}) for key in (ANN, BOB)}
    assert store.put_fitted("v1", "adapter", fitted) == {ANN}
    assert store.head_fingerprints("v1", "adapter") == {BOB: "made from"}
    say(store, ANN, ACCEPTED)
    back = FittedUser(HEAD, "made from what she said since", seen(store, ANN), {"e": b"told"})
    assert store.put_fitted("v1", "adapter", {ANN: back}) == set()
    assert store.users_with_head("v1", "adapter") == [ANN]


def test_what_fails_is_not_kept(store):
    def fail():
        with store.updating_observations(ANN, "v1", "adapter") as update:
            update.put_event(ACCEPTED)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.feedback_events([ANN]) == {}


def seen(store, key):
    events = store.feedback_events([key]).get(key, [])
    return Seen(store.history_version(key), tuple(sorted((event.item_id, event.said_at) for event in events)))


def test_a_fit_writes_who_is_as_it_saw_them(store, item):
    store.put_histories({ANN: [item("a")]})
    say(store, ANN, ACCEPTED)
    fitted = FittedUser(HEAD, "made from", seen(store, ANN), {"e": b"told"})
    store.append_history(ANN, item("of records"))
    assert store.put_fitted("v1", "adapter", {ANN: fitted}) == set()
    assert store.head_fingerprints("v1", "adapter") == {ANN: "made from"}
    assert store.observations([ANN], "v1", "adapter") == {ANN: {"e": b"told"}}
    nothing = FittedUser(None, "too little", seen(store, ANN))
    assert store.put_fitted("v1", "adapter", {ANN: nothing}) == set()
    assert store.head(ANN, "v1", "adapter") is None
    assert store.observations([ANN], "v1", "adapter") == {}


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda store: say(store, ANN, REJECTED),
        lambda store: say(store, ANN, ACCEPTED),
        lambda store: store.delete_item(ANN, "e"),
        lambda store: store.delete_item(ANN, "a"),
        lambda store: store.delete(ANN),
        lambda store: (store.delete(ANN), say(store, ANN, ACCEPTED)),
    ],
    ids=["said more", "said again", "event deleted", "item deleted", "deleted", "deleted and back"],
)
def test_what_happened_while_a_fit_went_on_is_not_undone_by_it(store, item, meanwhile):
    for key in (ANN, BOB):
        store.put_histories({key: [item("a")]})
        say(store, key, ACCEPTED)
    fitted = {key: FittedUser(HEAD, "made from", seen(store, key), {"e": b"told"}) for key in (ANN, BOB)}
    meanwhile(store)
    assert store.put_fitted("v1", "adapter", fitted) == {ANN}
    assert store.users_with_head("v1", "adapter") == [BOB]
    assert store.observations([ANN, BOB], "v1", "adapter").keys() == {BOB}
