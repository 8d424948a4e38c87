"""What only a database with several writers shows: those of one user take turns, the first ones too."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest
from sqlalchemy import create_engine, text
from store_processes import run_at_once
from stores_of_0_1_0 import write_to_postgres

from hydra_ray.records import HistoryItem, HydraError, UserKey
from hydra_ray.store.backends import open_store
from hydra_ray.store.types import DeletedMeanwhileError, ProfileFingerprint, UserProfile

ANN, BOB = UserKey("acme", "ann"), UserKey("acme", "bob")


def film(number):
    return HistoryItem(f"film {number}", "a robot", "sci-fi")


@pytest.mark.parametrize("is_new", [True, False])
def test_updates_of_one_user_at_once_lose_nothing(postgres_url, is_new):
    store = open_store(postgres_url)
    if not is_new:
        store.put_histories({ANN: [film(-1)]})

    def update(number):
        with store.updating_observations(ANN, "v1", "adapter") as update:
            before = len(update.all())
            update.append_history(film(number))
            update.put(f"film {number}", b"told")
            return before

    with ThreadPoolExecutor(8) as threads:
        seen = list(threads.map(update, range(60)))
    # Each saw all that those before it had brought.
    assert sorted(seen) == list(range(60))
    assert len(store.history(ANN)) == 60 + (not is_new)
    assert store.history_version(ANN).next_place == 60 + (not is_new)
    store.close()


FORTY = """
store = open_store(target)
for turn in range(5):
    with store.updating_observations(UserKey("acme", "ann"), "v1", "adapter") as update:
        update.append_history(HistoryItem(f"{number} {turn}", "a robot", "sci-fi"))
        update.put(f"{number} {turn}", b"told")
"""


def test_the_first_forty_feedbacks_of_a_user_from_eight_processes_all_count(postgres_url):
    run_at_once(8, FORTY, postgres_url, most=32)
    store = open_store(postgres_url)
    assert [place for place, _ in store.history_change(ANN, None).added] == list(range(40))
    assert len(store.observations([ANN], "v1", "adapter")[ANN]) == 40
    store.close()


def test_all_kinds_of_writes_of_a_few_users_at_once_get_in(postgres_url):
    store, both = open_store(postgres_url), [ANN, BOB]
    profile = UserProfile("dpl", "text", ProfileFingerprint("how", "what", 1), (BOB,))
    store.put_histories({key: [film(0)] for key in both})
    work = [
        lambda n: store.put_histories({key: [film(0), film(n)] for key in both}),
        lambda n: store.put_histories({key: [film(0)] for key in reversed(both)}),
        lambda n: store.put_profiles([(ANN, profile)]),
        lambda n: store.delete_item(BOB, f"film {n}"),
        lambda n: store.put_observations("v1", "adapter", {key: {"item": b"told"} for key in reversed(both)}),
        lambda n: store.append_history(ANN, film(n)),
    ]
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda n: work[n % 6](n), range(1, 61)))
    for key in both:
        places = [place for place, _ in store.history_change(key, None).added]
        assert len(set(places)) == len(places)
    store.close()


def test_who_is_deleted_while_a_profile_is_put_is_in_none_of_it(postgres_url):
    store = open_store(postgres_url)
    profile = UserProfile("dpl", "what Bob said", ProfileFingerprint("how", "what", 1), (BOB,))
    for _ in range(20):
        store.put_histories({ANN: [film(0)], BOB: [film(1)]})
        begin = Barrier(2)
        with ThreadPoolExecutor(2) as threads:
            putting = threads.submit(lambda begin=begin: begin.wait() + store.put_profiles([(ANN, profile)]))
            begin.wait()
            store.delete(BOB)
            putting.result()
        assert store.profile(ANN, "dpl") is None
    store.close()


def test_an_update_that_waited_for_a_deletion_does_not_bring_the_user_back(postgres_url):
    store = open_store(postgres_url)
    store.put_histories({ANN: [film(0)]})
    seen, holds, goes_on = store.deletions(ANN), Event(), Event()

    def delete():
        # As `delete` does, with a pause before it ends.
        from hydra_ray.store import turns

        with store._database.writing() as db:
            turns.take(db, [ANN])
            db.execute(text("delete from history"))
            turns.count_deletion(db, ANN)
            holds.set()
            assert goes_on.wait(60)

    def update():
        with store.updating_observations(ANN, "v1", "adapter", seen) as update:
            update.append_history(film(1))

    with ThreadPoolExecutor(2) as threads:
        deleting = threads.submit(delete)
        assert holds.wait(60)
        updating = threads.submit(update)
        goes_on.set()
        deleting.result()
        with pytest.raises(DeletedMeanwhileError):
            updating.result()
    assert store.history(ANN) == ()
    store.close()


def test_a_database_of_0_1_0_is_brought_up_by_one_of_many_who_open_it(postgres_url):
    write_to_postgres(postgres_url)
    lines = run_at_once(
        8,
        "store = open_store(target); ann = UserKey('acme', 'ann')\n"
        "print(f'{len(store.history(ann))} {store.history_version(ann).next_place}\\n', end='')",
        postgres_url,
        most=32,
    )
    assert lines == ["1 4"] * 8
    store = open_store(postgres_url)
    assert store.history(ANN) == (HistoryItem("film", "a robot", "sci-fi", "2003", "f1", "title"),)
    assert store.head_fingerprints("v1", "adapter") == {ANN: "mark"}
    assert store.observations([ANN], "v1", "adapter") == {ANN: {"film": b"told"}}
    hers = UserProfile("dpl", "hers", ProfileFingerprint("how", "what", 2), (BOB,), True, 3)
    assert store.profile(ANN, "dpl") == hers
    store.close()


def test_a_database_of_a_newer_version_is_refused_in_one_line(postgres_url):
    open_store(postgres_url).close()
    engine = create_engine(postgres_url)
    with engine.begin() as db:
        db.execute(text("update alembic_version set version_num = '9999'"))
    engine.dispose()
    told = r"^store\.url: \S+ was made by a newer version of hydra-ray \(revision 9999.*update hydra-ray"
    with pytest.raises(HydraError, match=told) as caught:
        open_store(postgres_url)
    assert "\n" not in str(caught.value)


def test_a_server_that_does_not_answer_is_named_in_one_line():
    with pytest.raises(HydraError, match=r"^store\.url: postgresql\S+ cannot be opened: ") as caught:
        open_store("postgresql+psycopg://nobody:secret@localhost:1/none")
    assert "secret" not in str(caught.value)
