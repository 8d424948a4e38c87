"""A process without requests keeps encodings of users' newest items, and loads no encoder for nothing."""

import pytest

from hydra_ray.learn.heads import item_encodings
from hydra_ray.learn.heads.item_encodings import KeptAhead
from hydra_ray.models.base import Base
from hydra_ray.models.scorer import Scorer
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.settings import parse_settings
from hydra_ray.store.schema import open_database
from hydra_ray.store.user_rows.encodings import EncodingStore
from hydra_ray.tasks import TEXT_TASK

ANN = UserKey("acme", "ann")
ITEMS = [HistoryItem(f"item-{number}", f"asks {number}", f"says {number}") for number in range(4)]


@pytest.fixture
def keep(scorer, store, tmp_path):
    """Keeps encodings of ann's items for a base; gives how many were new."""
    Base("v1", TEXT_TASK, scorer(seed=1), scorer(seed=2)).save(tmp_path / "base")
    database = open_database(f"sqlite:///{tmp_path / 'users.db'}")
    settings = parse_settings({"out": str(tmp_path), "base": {"encoder": {"precision": "float32"}}})
    ahead = KeptAhead(settings, EncodingStore(database))
    yield lambda: ahead(tmp_path / "base", store, [ANN])
    database.close()


def test_each_text_is_encoded_once_and_no_encoder_is_loaded_where_none_is_missing(keep, store, rows, monkeypatch):
    store.put_histories({ANN: ITEMS})
    # What the reranker and what the adapter reads of each.
    assert keep() == sum(rows) == 2 * len(ITEMS)
    loaded, load = [], Scorer.load
    monkeypatch.setattr(Scorer, "load", lambda folder, precision: (loaded.append(folder), load(folder, precision))[1])
    assert (keep(), loaded) == (0, [])
    store.append_history(ANN, HistoryItem("new", "asks more", "says more"))
    assert (keep(), len(loaded)) == (2, 2)


def test_of_a_long_history_the_newest_items_are_encoded(keep, store, monkeypatch):
    monkeypatch.setattr(item_encodings, "MOST_ITEMS", 3)
    store.put_histories({ANN: ITEMS})
    assert keep() == 2 * 3
    assert {row["item"] for row in store.records.rows(ANN)["item_encodings"]} == {one.id for one in ITEMS[1:]}
