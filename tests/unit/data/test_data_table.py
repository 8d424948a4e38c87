"""Plain records: who becomes a query, what it may see, and what is said about records that cannot be read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from defaults import read_records, split_of
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_ray.data.dataset import Dataset
from hydra_ray.data.errors import DataError
from hydra_ray.tasks import TEXT_TASK, Task

SETTINGS: dict[str, Any] = {"queries_per_user": 2, "dev_share": 0.5, "seed": 0}
MOODS = Task(name="text", kind="classification", labels=("calm", "loud"))


def record(user: str, ts: Any, **more: Any) -> dict[str, Any]:
    return {"user_id": user, "input": f"asked on {ts}", "output": f"said on {ts}", "ts": ts, **more}


def jsonl(path: Path, records: Iterable[Any]) -> Path:
    path.write_text("\n".join(json.dumps(values) for values in records), encoding="utf-8")
    return path


def read(path: Path, task: Task = TEXT_TASK, **changes: Any) -> Dataset:
    """All users: those of both splits."""
    train, dev = (read_records(path, task, split_of(name, **{**SETTINGS, **changes})) for name in ("train", "dev"))
    return Dataset(train.users + dev.users, {**train.golds, **dev.golds}, {**train.visible, **dev.visible})


def test_the_latest_records_become_queries(tmp_path):
    path = jsonl(tmp_path / "r.jsonl", [record("u", ts, item_id="f1") for ts in ("2003", "2001", "2004", "2002")])
    data = read(path, tenant="acme")
    (user,) = data.users
    assert user.key == ("acme", "u")
    assert [item.ts for item in user.history] == ["2001", "2002"]
    assert [query.ts for query in user.queries] == ["2003", "2004"]
    assert [data.golds[query.id] for query in user.queries] == ["said on 2003", "said on 2004"]
    assert (user.history[0].input, user.history[0].output, user.history[0].item_id) == (
        "asked on 2001",
        "said on 2001",
        "f1",
    )
    assert user.queries[0].item_id == "f1"
    assert data.visible == {}


@pytest.mark.parametrize(("records", "history", "queries"), [(1, 1, 0), (2, 1, 1), (3, 1, 2), (5, 3, 2)])
def test_one_record_always_stays_history(tmp_path, records, history, queries):
    path = jsonl(tmp_path / "r.jsonl", [record("u", str(2000 + year)) for year in range(records)])
    (user,) = read(path).users
    assert (len(user.history), len(user.queries)) == (history, queries)


def test_records_of_the_querys_own_date_are_not_before_it(tmp_path):
    records = [record("u", ts, input=f"{n}") for n, ts in enumerate(("2001", "2002", "2002", "2003"))]
    data = read(jsonl(tmp_path / "r.jsonl", records))
    (user,) = data.users
    same, later = user.queries
    assert [item.ts for item in data.history(user, same)] == ["2001"]
    assert [item.ts for item in data.history(user, later)] == ["2001", "2002"]


def test_a_record_may_have_fields_that_nobody_reads(tmp_path):
    path = jsonl(tmp_path / "r.jsonl", [record("u", "2001", mood="good", messages=[])])
    assert len(read(path).users[0].history) == 1


def test_splits_are_disjoint_stable_and_follow_the_seed(tmp_path):
    names = [f"person {number}" for number in range(200)]
    path = jsonl(tmp_path / "r.jsonl", [record(name, "2001") for name in names])

    def people(split: str, **changes: Any) -> set[str]:
        return {u.key.user for u in read_records(path, TEXT_TASK, split_of(split, **{**SETTINGS, **changes})).users}

    train, dev = people("train", dev_share=0.25), people("dev", dev_share=0.25)
    assert train | dev == set(names)
    assert not train & dev
    assert 30 <= len(dev) <= 70
    assert people("dev", dev_share=0.25, seed=1) != dev
    # A larger share only adds people, and more data moves nobody.
    assert dev < people("dev", dev_share=0.5)
    jsonl(path, [record(name, "2001") for name in (*names, "newcomer")])
    assert people("dev", dev_share=0.25) - {"newcomer"} == dev
    # Pinned: a hash that changes between releases would leak train users into dev.
    assert sorted(dev, key=names.index)[:3] == ["person 0", "person 2", "person 6"]


def test_parquet_reads_as_jsonl_does(tmp_path):
    records = [record(f"u{number % 7}", f"2001-01-{number:02}", item_id=None) for number in range(1, 29)]
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "r.parquet", row_group_size=5)
    assert read(tmp_path / "r.parquet") == read(jsonl(tmp_path / "r.jsonl", records))


@pytest.mark.parametrize(
    ("stamp", "text"),
    [
        (date(2001, 2, 3), "2001-02-03"),
        (datetime(2001, 2, 3, 4, 5), "2001-02-03T04:05:00"),
        (datetime(2001, 2, 3, 4, 5, tzinfo=ZoneInfo("America/New_York")), "2001-02-03T09:05:00+00:00"),
    ],
)
def test_parquet_dates_read_as_text(tmp_path, stamp, text):
    pq.write_table(pa.Table.from_pylist([record("u", stamp)]), tmp_path / "r.parquet")
    assert read(tmp_path / "r.parquet").users[0].history[0].ts == text


def test_the_hour_that_comes_twice_is_in_order(tmp_path):
    zone = ZoneInfo("America/New_York")
    stamps = [datetime(2026, 11, 1, 1, 50, tzinfo=zone), datetime(2026, 11, 1, 1, 20, fold=1, tzinfo=zone)]
    column = pa.array([datetime(2026, 11, 1, 1, 10, tzinfo=zone), *stamps], pa.timestamp("us", zone.key))
    texts = ["first", "second", "third"]
    pq.write_table(
        pa.table({"user_id": ["u"] * 3, "input": texts, "output": texts, "ts": column}), tmp_path / "r.parquet"
    )
    data = read(tmp_path / "r.parquet", queries_per_user=1)
    (user,) = data.users
    assert user.queries[0].input == "third"
    assert [item.input for item in data.history(user, user.queries[0])] == ["first", "second"]


def test_epochs_are_ordered_as_numbers(tmp_path):
    stamps = [999_999_990, 1_000_000_005, 1_000_000_010, 999_999_999]
    data = read(jsonl(tmp_path / "r.jsonl", [record("u", ts) for ts in stamps]), queries_per_user=1)
    (user,) = data.users
    assert [item.ts for item in user.history] == ["999999990", "999999999", "1000000005"]
    assert [query.ts for query in user.queries] == ["1000000010"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            {"user_id": "u", "input": "a", "output": "calm"},
            'r.jsonl, line 3 has no "ts". Records need "user_id", "input"',
        ),
        ({"user_id": "u", "input": "a", "output": "calm", "ts": ""}, 'r.jsonl, line 3 has no "ts".'),
        (
            {"user_id": "u", "input": "a", "output": "calm", "ts": "9 March"},
            'r.jsonl, line 3 has a "ts" that is no date. "9 March" cannot be read: write a year (2021), a month',
        ),
        ({"user_id": "u", "input": "a", "output": "calm", "ts": "9" * 99}, f'no date. "{"9" * 40}..." cannot be read'),
        ({"input": "a", "output": "calm", "ts": "2001"}, 'r.jsonl, line 3 has no "user_id".'),
        ({"user_id": "u", "output": "calm", "ts": "2001"}, 'r.jsonl, line 3 has no "input".'),
        ({"user_id": "u", "input": "a", "ts": "2001"}, 'r.jsonl, line 3 has no "output".'),
        (
            {"user_id": "u", "input": {}, "output": "calm", "ts": "2001"},
            'line 3 has an object as "input". Write it as text.',
        ),
        (
            {"user_id": "u", "input": "a", "output": "wild", "ts": "2001"},
            'line 3 has "wild" as "output", which is not among the answers: calm, loud.',
        ),
        (["u", "a"], "r.jsonl, line 3 is a list, not an object."),
    ],
)
def test_a_bad_record_is_named_with_line_and_field(tmp_path, bad, message):
    path = jsonl(tmp_path / "r.jsonl", [record("u", "2000") | {"output": "Calm."}, bad])
    path.write_text(path.read_text().replace("\n", "\n\n"), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read(path, MOODS)
    assert message in str(caught.value)


def test_lines_that_are_not_json_or_utf8_are_named(tmp_path):
    path = jsonl(tmp_path / "r.jsonl", [record("u", "2000")])
    path.write_bytes(path.read_bytes() + b'\n{"user_id": }')
    with pytest.raises(DataError, match=r"^r\.jsonl, line 2: not JSON at column 13 \(Expecting value\)\."):
        read(path)
    path.write_bytes(b'{"user_id": "caf\xe9"}')
    with pytest.raises(DataError, match=r"^r\.jsonl, line 1: byte 16 is not UTF-8\."):
        read(path)


def test_parquet_without_a_column_or_a_value_is_named(tmp_path):
    path = tmp_path / "r.parquet"
    pq.write_table(pa.Table.from_pylist([record("u", "2000"), record("u", None)]), path)
    with pytest.raises(DataError, match=r'^r\.parquet, row 2 has no "ts"\.'):
        read(path)
    pq.write_table(pa.table({"user_id": ["u"], "input": ["a"], "text": ["b"]}), path)
    with pytest.raises(DataError, match=r'^r\.parquet: no column "output"\. .* The file has: user_id, input, text\.$'):
        read(path)
    path.write_text("not parquet", encoding="utf-8")
    with pytest.raises(DataError, match=r"^r\.parquet: not a Parquet file"):
        read(path)


def test_files_and_splits_that_are_not_there_are_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.jsonl: no such file\."):
        read(tmp_path / "gone.jsonl")
    (tmp_path / "r.doc").write_text("Dear all", encoding="utf-8")
    with pytest.raises(DataError, match=r"^r\.doc: of no known format: records are JSON Lines"):
        read(tmp_path / "r.doc")
    with pytest.raises(DataError, match='have the splits "train" and "dev", not "test"'):
        split_of("test", **SETTINGS)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from("abc"), st.integers(2000, 2009).map(str)), min_size=1, max_size=25),
    queries=st.integers(1, 4),
)
def test_no_record_is_lost_and_no_query_sees_its_future(tmp_path_factory, rows, queries):
    path = jsonl(tmp_path_factory.mktemp("any") / "r.jsonl", [record(user, ts) for user, ts in rows])
    data = read(path, queries_per_user=queries)
    kept = [(user.key.user, part.ts) for user in data.users for part in (*user.history, *user.queries)]
    assert sorted(kept) == sorted(set(rows))
    ids = [part.id for user in data.users for part in (*user.history, *user.queries)]
    assert len(set(ids)) == len(ids)
    for user in data.users:
        assert len(user.queries) == min(queries, len(user.history) + len(user.queries) - 1)
        for query in user.queries:
            assert data.golds[query.id] == f"said on {query.ts}"
            assert data.history(user, query) == tuple(item for item in user.history if item.ts < query.ts)


def test_a_record_may_name_the_answer_that_the_user_would_not_have(tmp_path):
    rows = [record("u", "2001", rejected="not this"), record("u", "2002", rejected=""), record("u", "2003")]
    train = read_records(
        jsonl(tmp_path / "r.jsonl", rows), TEXT_TASK, split_of("train", **{**SETTINGS, "dev_share": 1e-9})
    )
    (user,) = train.users
    assert [item.rejected for item in user.history] == ["not this"]
    assert train.rejected == {}


@pytest.mark.parametrize(
    ("rejected", "message"),
    [
        ("grim", 'has "grim" as "rejected", which is not among the answers: calm, loud.'),
        ("Calm", 'has the same answer as "output" and as "rejected".'),
    ],
)
def test_a_rejected_answer_that_teaches_nothing_is_named(tmp_path, rejected, message):
    path = jsonl(tmp_path / "r.jsonl", [{**record("u", "2001"), "output": "calm", "rejected": rejected}])
    with pytest.raises(DataError, match=re.escape(f"r.jsonl, line 1 {message}")):
        read(path, MOODS)
