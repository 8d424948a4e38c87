"""What only a database with several writers shows: updates of one user follow each other there, too."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import create_engine, text

from hydra_ray.records import HistoryItem, HydraError, UserKey
from hydra_ray.store.backends import open_store

ANN = UserKey("acme", "ann")


def film(number):
    return HistoryItem(f"film {number}", "a robot", "sci-fi")


def test_updates_of_one_user_at_once_lose_nothing(postgres_url):
    stores = [open_store(postgres_url) for _ in range(4)]
    stores[0].put_histories({ANN: [film(-1)]})

    def update(number):
        with stores[number % 4].updating_observations(ANN, "v1", "adapter") as update:
            before = len(update.all())
            update.append_history(film(number))
            update.put(f"film {number}", b"told")
            return before

    with ThreadPoolExecutor(8) as threads:
        seen = list(threads.map(update, range(60)))
    # Each saw all that those before it had brought.
    assert sorted(seen) == list(range(60))
    assert len(stores[0].history(ANN)) == 61
    assert stores[0].history_version(ANN).next_place == 61
    for store in stores:
        store.close()


def test_a_database_of_0_1_0_is_brought_up_by_one_of_many_who_open_it(postgres_url):
    open_store(postgres_url).close()
    engine = create_engine(postgres_url)
    with engine.begin() as db:
        # As 0.1.0 leaves it.
        db.execute(text("drop table alembic_version"))
        db.execute(text("drop table history_versions"))
        db.execute(text("drop index history_by_place"))
        db.execute(text("drop table user_preferences"))
        db.execute(text("alter table history drop column stored_at"))
        db.execute(text("alter table heads drop column written_at"))
        row = "('acme', 'ann', 'a', 3, 'a robot', 'sci-fi', null, null, '')"
        db.execute(text(f"insert into history values {row}"))

    def opened(_):
        store = open_store(postgres_url)
        found = store.history(ANN), store.history_version(ANN).next_place
        store.close()
        return found

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(opened, range(8))) == [((HistoryItem("a", "a robot", "sci-fi"),), 4)] * 8
    engine.dispose()


def test_a_server_that_does_not_answer_is_named_in_one_line(postgres_url):
    with pytest.raises(HydraError, match=r"^model\.store: postgresql\S+ cannot be opened: ") as caught:
        open_store("postgresql+psycopg://nobody:secret@localhost:1/none")
    assert "secret" not in str(caught.value)
