"""What was deleted is read from no records, whatever job reads them, until a file undeletes it by name."""

import json
import logging

import pytest

from hydra_ray.commands.fit import merge_lines
from hydra_ray.learn.collect.job import estimate_feedback
from hydra_ray.records import HistoryItem, HydraError, UserKey
from hydra_ray.runtime.loading import chosen_users, load_data, put_histories
from hydra_ray.runtime.users.deleted import keep_deleted, undelete
from hydra_ray.settings import parse_settings
from hydra_ray.store.backends import open_store
from hydra_ray.store.types import MergeReport

USERS = ("ann", "bob", "eve")


@pytest.fixture
def settings(tmp_path):
    """Records of three users with four items each and one query."""
    rows = [
        {"user_id": user, "input": f"film {day}", "output": "good", "ts": f"2026-01-0{day}"}
        for user in USERS
        for day in range(1, 6)
    ]
    (tmp_path / "records.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    data = {"format": "records", "path": str(tmp_path / "records.jsonl"), "queries_per_user": 1, "dev_share": 0.5}
    return parse_settings({"out": str(tmp_path / "out"), "users": "dev", "data": data})


@pytest.fixture
def store(settings):
    settings.model_dir.mkdir(parents=True)
    store = open_store(settings.store_url)
    yield store
    store.close()


def key(name):
    return UserKey("default", name)


def read(settings):
    """Item ids by user, of both splits together."""
    both = [user for split in ("train", "dev") for user in load_data(settings, split)[1].users]
    return {user.key.user: [item.id.partition("-")[2] for item in user.history] for user in both}


EVERYTHING = {name: ["0", "1", "2", "3"] for name in USERS}


def test_without_a_store_nothing_is_left_out_and_none_is_made(settings):
    assert read(settings) == EVERYTHING
    assert not settings.model_dir.exists()


def test_what_was_deleted_is_read_from_no_records(settings, store, caplog):
    for split in ("train", "dev"):
        put_histories(store, load_data(settings, split)[1])
    store.delete(key("ann"))
    store.delete_item(key("bob"), "bob-2")
    store.delete(UserKey("another tenant", "eve"))
    with caplog.at_level(logging.WARNING):
        assert read(settings) == {"bob": ["0", "1", "3"], "eve": ["0", "1", "2", "3"]}
    assert any("1 users and 0 further history items" in line for line in caplog.messages)
    assert any("0 users and 1 further history items" in line for line in caplog.messages)
    for split in ("train", "dev"):
        _, dataset = load_data(settings, split)
        assert not [query for query in (*dataset.golds, *dataset.visible) if query.startswith("ann")]


def test_nobody_who_was_deleted_is_chosen_or_asked_about(settings, store):
    everybody = {split: [user.key.user for user in load_data(settings, split)[1].users] for split in ("train", "dev")}
    for split, names in everybody.items():
        of_split = settings.model_copy(update={"users": split})
        before = estimate_feedback(of_split).examples
        for name in names:
            store.delete(key(name))
        assert chosen_users(of_split)[1].users == ()
        assert before > estimate_feedback(of_split).examples == 0


def test_a_file_undeletes_users_and_items_by_name(settings, store, tmp_path):
    for split in ("train", "dev"):
        put_histories(store, load_data(settings, split)[1])
    for name in ("ann", "eve"):
        store.delete(key(name))
    store.delete_item(key("bob"), "bob-2")
    path = tmp_path / "back.txt"
    path.write_text("ann\n\nbob\tbob-2\nbob\nnobody\tx\n")
    found = undelete(settings, path)
    assert (found.users, found.items, found.unknown) == (1, 1, ["bob", "nobody\tx"])
    assert read(settings) == {name: EVERYTHING[name] for name in ("ann", "bob")}


@pytest.mark.parametrize(
    ("content", "message"), [("\n", "names nobody"), ("\u200b\tx\n", "line 1"), (None, "readable")]
)
def test_a_file_that_names_nobody_is_refused(settings, store, tmp_path, content, message):
    path = tmp_path / "back.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(HydraError, match=message):
        undelete(settings, path)


def test_what_records_replace_is_said_before_anything_else_is_done(settings, store, caplog):
    _, dataset = load_data(settings, "train")
    put_histories(store, dataset)
    lost = dataset.users[0].key
    for number in range(2):
        store.append_history(lost, HistoryItem(f"online {number}", "a film", "bad"))
    with caplog.at_level(logging.WARNING):
        report = put_histories(store, dataset, replace=True)
    assert report.losers == {lost: 2}
    assert f"2 history items and 0 feedback events were replaced by records, of 1 users: {lost.user} (2)" in caplog.text
    assert "Records replaced 2 history items and 0 feedback events of 1 users." in list(merge_lines(report))


def test_a_merge_that_removes_nothing_says_what_it_added():
    (line,) = merge_lines(MergeReport(users=2, added=3, updated=1, kept=4))
    assert line == "Histories: 3 items added, 1 updated, 4 kept that the records do not have; 2 users changed."


def test_an_experiments_own_store_knows_of_the_same_deletions(settings, store):
    cell = settings.model_copy(update={"out": settings.out / "seed-1"})
    keep_deleted(settings, cell)
    assert not cell.model_dir.exists(), "nothing was deleted"
    for split in ("train", "dev"):
        put_histories(store, load_data(settings, split)[1])
    store.delete(key("ann"))
    store.delete_item(key("bob"), "bob-2")
    keep_deleted(settings, cell)
    assert read(cell) == read(settings) == {"bob": ["0", "1", "3"], "eve": EVERYTHING["eve"]}
    own = open_store(cell.store_url)
    own.put_histories({key("eve"): [HistoryItem("eve-0", "film 1", "good")]})
    store.undelete(key("ann"))
    store.delete(key("eve"))
    keep_deleted(settings, cell)
    assert read(cell) == read(settings) == {"ann": EVERYTHING["ann"], "bob": ["0", "1", "3"]}
    assert own.history(key("eve")) == ()
    assert own.tombstones("default") == store.tombstones("default")
    own.close()
