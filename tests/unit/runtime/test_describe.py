"""What `data describe` tells, as it stands on a terminal of 80 columns."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.runtime.describe import describe_data
from hydra_ray.runtime.loading import load_data
from hydra_ray.settings import parse_settings
from hydra_ray.store.backends import open_store


def describe(folder: Path, records: list[dict[str, Any]], **settings: Any) -> str:
    (folder / "r.jsonl").write_text("\n".join(json.dumps(record) for record in records), encoding="utf-8")
    data = {"format": "records", "path": str(folder / "r.jsonl"), "dev_share": 0.001, "queries_per_user": 1}
    console = Console(width=80, record=True)
    console.print(describe_data(parse_settings({"data": {**data, **settings.pop("data", {})}, **settings})))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    return text


def value(text: str, label: str) -> str:
    rows = [[cell.strip() for cell in line.split("│")] for line in text.splitlines() if "│" in line]
    (found,) = (row[2] for row in rows if row[1] == label)
    return found


def record(number: int, **more: Any) -> dict[str, Any]:
    return {"user_id": "u", "input": f"note {number}", "output": "fine", "ts": f"2021-03-0{number}", **more}


def test_people_dates_and_lengths_are_told(tmp_path):
    records = [record(n) for n in (1, 2, 3)] + [
        record(4, ts="2021-3-10", output="well and good"),
        record(5, user_id="v"),
    ]
    told = describe(tmp_path, records)
    assert value(told, "users") == "2"
    assert value(told, "users without a query") == "1"
    assert value(told, "items a query sees") == "3 to 3, median 3"
    assert value(told, "queries that see none") == "0"
    assert value(told, "dates (UTC)") == "2021-03-01 to 2021-03-10"
    assert value(told, "records without a date") == "0 of 5"
    assert value(told, "characters an input") == "median 6, longest 6"
    assert value(told, "words an answer") == "median 1, longest 3"
    assert value(told, "scripts") == "Latin 100 %"
    assert "left out" not in told
    assert "warning" not in told


def test_dates_are_as_exact_as_they_were_given(tmp_path):
    for stamps, shown in (
        (("2019", "2021"), "2019 to 2021"),
        (("2019-3", "2021-03-09T14:30"), "2019-03 to 2021-03-09 14:30"),
        (("999999999", "1000000000000"), "2001-09-09 01:46:39 to 2001-09-09 01:46:40"),
        (("0001-01-01T00:00+01:00", "0987"), "beyond the calendar to 0987"),
    ):
        assert value(describe(tmp_path, [record(1, ts=ts) for ts in stamps]), "dates (UTC)") == shown


def test_queries_without_history_are_counted(tmp_path):
    told = describe(tmp_path, [record(1), record(2, ts="2021-03-01")])
    assert value(told, "queries that see none") == "1"


def test_what_was_left_out_is_told_with_its_first_places(tmp_path):
    told = describe(tmp_path, [record(1), record(2), *(record(1) for _ in range(5))])
    assert "the same record again" in told
    (line,) = (line for line in told.splitlines() if "the same record again" in line)
    assert line.split("│")[2].strip() == "5"
    assert "r.jsonl, line 3" in told
    assert "..." in told


def test_most_text_in_another_script_warns_of_the_english_encoder(tmp_path):
    records = [record(n, input=f"会议室{n}有空吗", output="好的没问题呀") for n in (1, 2, 3)]
    told = describe(tmp_path, records)
    assert value(told, "scripts") == "Han 100 %"
    assert value(told, "characters an answer") == "median 6, longest 6"
    # Nothing parts its words, so each sign counts.
    assert value(told, "words an answer") == "median 6, longest 6"
    assert "warning: most text is not in Latin letters (Han 100 %), and" in told
    assert "base.encoder.name" in told
    assert "warning" not in describe(tmp_path, records, base={"encoder": {"name": "some/multilingual-encoder"}})


def test_closed_answers_are_counted(tmp_path):
    records = [record(n, output="calm") for n in (1, 2)] + [record(3, output="[loud]")]
    told = describe(tmp_path, records, data={"labels": ["calm", "[loud]"]})
    assert value(told, "allowed answers") == "2"
    assert value(told, "most frequent in history") == "calm (2)"


def test_a_store_is_described_in_order_of_time(tmp_path, monkeypatch, tag_task):
    key = UserKey("default", "ann")
    store = open_store(f"sqlite:///{tmp_path / 'users.db'}")
    for number, ts in enumerate(("2021-10-01", None, "2021-3-9")):
        store.append_history(key, HistoryItem(str(number), f"film {number}", "sea", ts))
    store.close()
    monkeypatch.setattr("hydra_ray.runtime.loading.chosen_manifest", lambda settings: SimpleNamespace(task=tag_task))
    settings = {"data": {"format": "store"}, "store": {"url": f"sqlite:///{tmp_path / 'users.db'}"}}
    (user,) = load_data(parse_settings(settings))[1].users
    assert [item.id for item in user.history] == ["2", "1", "0"]
    console = Console(width=80, record=True)
    console.print(describe_data(parse_settings(settings)))
    told = console.export_text()
    assert value(told, "dates (UTC)") == "2021-03-09 to 2021-10-01"
    assert value(told, "records without a date") == "1 of 3"
