"""Bad records: all are told together, and so many as are allowed are left out, counted and logged."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from defaults import read_chat, read_lamp, read_records, read_reviews, split_of
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_ray.data.dataset import Dataset
from hydra_ray.data.errors import DataError
from hydra_ray.data.reviews import ReviewFilters
from hydra_ray.runtime.loading import load_data
from hydra_ray.settings import SettingsError, parse_settings
from hydra_ray.tasks import TASKS, TEXT_TASK

EVERYBODY = split_of("train", queries_per_user=1, dev_share=1e-9, seed=0)
GOOD = {"user_id": "u", "input": "hi", "output": "ho", "ts": "2026"}


def jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def read(folder: Path, rows: list[Any], skip_bad: float = 0) -> Dataset:
    return read_records(jsonl(folder / "r.jsonl", rows), TEXT_TASK, EVERYBODY, skip_bad)


def size(data: Dataset) -> int:
    return sum(len(user.history) + len(user.queries) for user in data.users)


MIXED = [
    GOOD,
    GOOD | {"output": None},
    "not json",
    GOOD | {"user_id": " "},
    [1],
    GOOD | {"output": float("nan")},
    GOOD | {"user_id": 1.5},
    GOOD | {"input": "so"},
]


def test_all_bad_records_are_told_by_reason(tmp_path):
    with pytest.raises(DataError) as caught:
        read(tmp_path, MIXED)
    first, *lines = str(caught.value).split("\n")
    assert first.endswith("r.jsonl: 6 of 8 records cannot be used, and data.skip_bad=0 allows fewer:")
    starts = [
        '  r.jsonl, line 2 has no "output". Records need "user_id", "input", "output" and "ts". 2 are so, also line 6.',
        "  r.jsonl, line 3: not JSON at column 1",
        '  r.jsonl, line 4 has a "user_id" that is blank',
        "  r.jsonl, line 5 is a list, not an object.",
        '  r.jsonl, line 7 has 1.5 as "user_id"',
    ]
    assert len(lines) == len(starts)
    for line, start in zip(sorted(lines), starts, strict=True):
        assert line.startswith(start)


def test_of_many_bad_records_ten_are_named(tmp_path):
    with pytest.raises(DataError) as caught:
        read(tmp_path, [GOOD, *[GOOD | {"ts": None}] * 50])
    assert "50 of 51 records" in str(caught.value)
    assert (
        "50 are so, also line 3; line 4; line 5; line 6; line 7; line 8; line 9; line 10; line 11 and 40 more."
        in str(caught.value)
    )
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize("skip_bad", [6, 100, 0.75, 0.99])
def test_so_many_are_left_out_counted_and_logged(tmp_path, caplog, skip_bad):
    with caplog.at_level(logging.WARNING):
        data = read(tmp_path, MIXED, skip_bad)
    assert size(data) == 2
    assert data.left_out.counts.total() == 6
    assert data.left_out.counts['has no "output"'] == 2
    assert data.left_out.examples['has no "output"'] == ["r.jsonl, line 2", "r.jsonl, line 6"]
    (record,) = caplog.records
    assert "6 of 8 records are left out, as data.skip_bad allows:" in record.getMessage()
    assert 'r.jsonl, line 7 has 1.5 as "user_id"' in record.getMessage()


@pytest.mark.parametrize("skip_bad", [1, 5, 0.01, 0.74])
def test_more_than_allowed_is_an_error_that_names_all(tmp_path, caplog, skip_bad):
    with pytest.raises(DataError) as caught:
        read(tmp_path, MIXED, skip_bad)
    assert f"6 of 8 records cannot be used, and data.skip_bad={skip_bad} allows fewer:" in str(caught.value)
    assert "line 7" in str(caught.value)
    assert not caplog.records


def test_one_bad_record_is_told_on_one_line(tmp_path):
    with pytest.raises(DataError, match=r'^r\.jsonl, line 2 has no "ts"\. Records need [^\n]*$'):
        read(tmp_path, [GOOD, GOOD | {"ts": None}])


def test_good_data_says_nothing(tmp_path, caplog):
    assert not read(tmp_path, [GOOD, GOOD | {"input": "so"}]).left_out.counts
    assert not caplog.records


def test_when_none_is_left_it_is_said(tmp_path):
    with pytest.raises(DataError, match="2 of 2 records cannot be used, so none is left:"):
        read(tmp_path, [GOOD | {"ts": None}] * 2, skip_bad=10)


@pytest.mark.parametrize(("name", "content"), [("r.jsonl", ""), ("r.jsonl", "\n \n"), ("r.json", "[]"), ("r.csv", "")])
def test_no_record_at_all_is_an_error(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=rf"{name}: there is no record in it\.$"):
        read_records(tmp_path / name, TEXT_TASK, EVERYBODY, skip_bad=5)


def test_a_table_without_rows_has_no_record(tmp_path):
    (tmp_path / "r.csv").write_text("user_id,input,output,ts\n", encoding="utf-8")
    pq.write_table(pa.Table.from_pylist([GOOD]).slice(0, 0), tmp_path / "r.parquet")
    for name in ("r.csv", "r.parquet"):
        with pytest.raises(DataError, match="there is no record in it"):
            read_records(tmp_path / name, TEXT_TASK, EVERYBODY)


def test_lines_of_csv_with_other_cells_are_bad_records(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text('user_id,input,output,ts\nu,hi,ho,2026\nu,hi\nu,"a"b,ho,2026\nu,hi,ho,2026,9\nu,so,ho,2026\n')
    data = read_records(path, TEXT_TASK, EVERYBODY, skip_bad=3)
    assert size(data) == 2
    assert [places for _, places in sorted(data.left_out.examples.items())] == [
        ["r.csv, line 3"],
        ["r.csv, line 5"],
        ["r.csv, line 4"],
    ]


def test_bad_records_of_all_files_are_counted_together(tmp_path):
    for name in "ab":
        jsonl(tmp_path / f"{name}.jsonl", [GOOD | {"input": name}, GOOD | {"output": None}])
    with pytest.raises(DataError) as caught:
        read_records(tmp_path, TEXT_TASK, EVERYBODY, 1)
    assert f'{tmp_path.name}/a.jsonl, line 2 has no "output"' in str(caught.value)
    assert f"2 are so, also {tmp_path.name}/b.jsonl, line 2." in str(caught.value)
    assert size(read_records(tmp_path, TEXT_TASK, EVERYBODY, 2)) == 2


def test_conversations_are_left_out(tmp_path):
    chat = {"user_id": "u", "messages": [{"role": "user", "content": "Hi"}], "output": "Ho"}
    rows = [
        chat | {"id": "a"},
        chat | {"id": "a", "output": "Hey"},
        chat | {"output": None},
        chat | {"user_id": ""},
        chat | {"id": "b", "output": "Hey"},
    ]
    data = read_chat(jsonl(tmp_path / "c.jsonl", rows), EVERYBODY, skip_bad=3)
    assert size(data) == 2
    assert data.left_out.counts.total() == 3
    with pytest.raises(DataError, match="3 of 5 records"):
        read_chat(tmp_path / "c.jsonl", EVERYBODY, skip_bad=2)


def test_reviews_and_items_are_left_out_and_counted_once(tmp_path):
    review = {"user_id": "u", "parent_asin": "a", "title": "Ok", "text": "Good.", "rating": 4, "timestamp": 1}
    item = {"parent_asin": "a", "title": "Film", "description": "About it."}
    reviews = [review, review | {"timestamp": "May"}, review | {"rating": None}, review | {"user_id": "\t"}]
    path = jsonl(tmp_path / "r.jsonl", [*reviews, review | {"text": "Bad."}])
    items = jsonl(tmp_path / "m.jsonl", [item, item | {"parent_asin": None}])
    filters = ReviewFilters(1, 1, 99, 1, 1, 99)
    data = read_reviews(path, items, EVERYBODY, filters, skip_bad=3)
    assert size(data) == 2
    assert data.left_out.counts.total() == 4
    assert data.left_out.examples['has no "parent_asin"'] == ["m.jsonl, line 2"]
    with pytest.raises(DataError, match="3 of 5 records"):
        read_reviews(path, items, EVERYBODY, filters, skip_bad=2)


def lamp(folder: Path) -> Path:
    def question(name: str, *titles: str | None, **more: Any) -> dict[str, Any]:
        profile = [{"id": f"{name}{number}", "text": "x", "title": title} for number, title in enumerate(titles)]
        return {"id": name, "input": "Generate a subject for the following email: x", "profile": profile, **more}

    questions = [
        question("1", "lunch", None, "tea"),
        question("2", None),
        question("3", "lunch", input="no such task"),
        question("4", "lunch", user_id=" "),
        question("5", "lunch"),
        question("6", "lunch"),
        question("6", "other"),
    ]
    golds = [{"id": str(name), "output": None if name == 5 else "x"} for name in range(1, 7)]
    (folder / "dev_questions.json").write_text(json.dumps(questions), encoding="utf-8")
    (folder / "dev_outputs.json").write_text(json.dumps({"task": "LaMP_6", "golds": golds}), encoding="utf-8")
    return folder


def test_of_lamp_items_questions_and_answers_are_left_out_each(tmp_path):
    _, data = read_lamp(lamp(tmp_path), TASKS["LaMP_6"], "dev", skip_bad=6)
    assert {user.key.user: [item.output for item in user.history] for user in data.users} == {
        "1": ["lunch", "tea"],
        "2": [],
        "6": ["lunch"],
    }
    assert data.golds == dict.fromkeys("126", "x")
    assert data.left_out.counts == {
        'has no "title"': 2,
        'has an "input" that is not one of LaMP_6': 1,
        '"user_id" is blank: nobody is not a user': 1,
        'has no "output"': 1,
        "has the id of an earlier record": 1,
    }


def test_by_default_all_bad_items_of_lamp_are_named(tmp_path):
    with pytest.raises(DataError) as caught:
        read_lamp(lamp(tmp_path), TASKS["LaMP_6"], "dev")
    told = str(caught.value)
    # 7 questions, 8 items of those with ids of their own, and 6 answers.
    assert told.startswith("dev_questions.json: 6 of 21 records cannot be used")
    assert 'dev_questions.json, record 1 (id "1"): profile item 2 has no "title".' in told
    assert '2 are so, also record 2 (id "2"): profile item 1.' in told
    assert 'dev_outputs.json, record 5 (id "5") has no "output".' in told


@pytest.mark.parametrize("value", [0, 1, 100, 0.01, "0.5", "3", 0.0])
def test_a_count_or_a_share_may_be_set(value):
    assert parse_settings({"data": {"skip_bad": value}}).data.skip_bad == float(value)


@pytest.mark.parametrize("value", [-1, 1.0, 1.5, True, "5 %", -0.1, float("nan"), float("inf"), None])
def test_what_is_neither_is_refused(value):
    with pytest.raises(SettingsError, match=r"data\.skip_bad"):
        parse_settings({"data": {"skip_bad": value}})


@pytest.mark.parametrize("kind", ["records", "chat", "reviews", "lamp"])
def test_the_setting_reaches_every_format(tmp_path, kind):
    chat = {"messages": [{"role": "user", "content": "Hi"}]}
    review = {"parent_asin": "a", "title": "Ok", "text": "Good.", "rating": 4, "timestamp": 1}
    path = jsonl(tmp_path / "r.jsonl", [GOOD | chat | review, GOOD | chat | review | {"user_id": ""}])
    items = jsonl(tmp_path / "m.jsonl", [{"parent_asin": "a", "title": "Film", "description": "About it."}])
    data: dict[str, Any] = {"format": kind, "dev_share": 1e-9}
    if kind == "lamp":
        data |= {"dir": str(lamp(tmp_path)), "task": "LaMP_6", "split": "dev"}
    else:
        data |= {"path": str(path)}
    if kind == "reviews":
        filters = {"min_review_chars": 1, "min_description_chars": 1, "min_item_users": 1, "min_user_reviews": 1}
        data |= {"items": str(items), "reviews": filters}
    with pytest.raises(DataError):
        load_data(parse_settings({"data": data}))
    _, dataset = load_data(parse_settings({"data": data | {"skip_bad": 6}}))
    assert dataset.left_out.counts['"user_id" is blank: nobody is not a user'] == 1


@settings(max_examples=60, deadline=None)
@given(
    bad=st.lists(st.booleans(), min_size=1, max_size=30),
    skip_bad=st.integers(0, 5) | st.floats(0.01, 0.99),
)
def test_reading_succeeds_exactly_within_the_allowance(tmp_path_factory, bad, skip_bad):
    rows = [GOOD | {"input": str(number), "ts": None if one else "2026"} for number, one in enumerate(bad)]
    allowed = skip_bad if skip_bad >= 1 else skip_bad * len(bad)
    try:
        data = read(tmp_path_factory.mktemp("any"), rows, skip_bad)
    except DataError:
        assert sum(bad) > allowed or all(bad)
    else:
        assert sum(bad) <= allowed
        assert (size(data), data.left_out.counts.total()) == (len(bad) - sum(bad), sum(bad))
