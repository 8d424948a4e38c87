"""What is new of users since their heads were written, whatever it was and whoever wrote it."""

import pytest

from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.store.backends import open_store
from hydra_ray.store.schema import open_database
from hydra_ray.store.types import FeedbackEvent
from hydra_ray.store.user_rows.news import News

ANN, BOB, EVE = UserKey("acme", "ann"), UserKey("acme", "bob"), UserKey("zeta", "ann")
ROLE = "adapter"


@pytest.fixture
def users(url):
    store = open_store(url)
    yield store
    store.close()


@pytest.fixture
def news(url):
    database = open_database(url)
    yield News(database)
    database.close()


def say(store, key, item_id, said="accepted"):
    event = FeedbackEvent(item_id, "asks", said, "text")
    with store.updating_observations(key, "v1", ROLE) as update:
        if event.item is not None:
            update.append_history(event.item)
        update.put_event(event)


def test_an_event_and_its_item_are_one_and_a_rejection_is_one_too(news, users):
    say(users, ANN, "a")
    say(users, ANN, "b", "rejected")
    users.append_history(ANN, HistoryItem("c", "x", "y"))
    assert news.of(ANN, "v1", ROLE) == 3
    users.put_heads("v1", ROLE, {ANN: None})
    assert news.of(ANN, "v1", ROLE) == 0
    # A head of another version or role knows nothing of it.
    assert (news.of(ANN, "v2", ROLE), news.of(ANN, "v1", "reranker")) == (3, 3)
    say(users, ANN, "d", "rejected")
    say(users, ANN, "a", "edited")
    assert news.of(ANN, "v1", ROLE) == 2


def test_due_is_who_has_a_head_or_said_something_and_has_enough_that_is_new(news, users):
    users.put_histories({BOB: [HistoryItem(str(number), "x", "y") for number in range(5)]})
    assert news.due("v1", ROLE, 2) == [], "records of people whom nobody fitted"
    users.put_heads("v1", ROLE, {BOB: None})
    users.append_history(BOB, HistoryItem("new", "x", "y"))
    for key in (ANN, EVE):
        say(users, key, "a")
    say(users, EVE, "b", "rejected")
    assert news.due("v1", ROLE, 2) == [EVE]
    assert news.due("v1", ROLE, 1) == [ANN, BOB, EVE]
    users.put_heads("v1", ROLE, dict.fromkeys([ANN, BOB, EVE]))
    assert news.due("v1", ROLE, 1) == []
