"""Values that are none, and what else a field may hold."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from defaults import read_records
from one_record import EVERYBODY, GOOD, line, only, parquet, read

from hydra_ray.data.errors import DataError
from hydra_ray.tasks import TEXT_TASK

NEW_YORK = timezone(timedelta(hours=-5))


@pytest.mark.parametrize("none", ["NaN", "Infinity", "-Infinity", "1e999", "null"])
@pytest.mark.parametrize("field", ["user_id", "input", "output", "ts"])
def test_numbers_that_are_none_are_missing(tmp_path, field, none):
    text = json.dumps({name: value for name, value in GOOD.items() if name != field})[:-1]
    with pytest.raises(DataError, match=f'^r\\.jsonl, line 1 has no "{field}"'):
        read(line(tmp_path, f'{text}, "{field}": {none}}}'))


def test_texts_that_look_like_none_are_text(tmp_path):
    text = json.dumps(GOOD | {"user_id": "nan", "input": "NaN", "output": "None", "item_id": "null"})
    user, item = only(read(line(tmp_path, text)))
    assert (user, item.input, item.output, item.item_id) == ("nan", "NaN", "None", "null")


def test_a_time_that_is_none_is_missing(tmp_path):
    with pytest.raises(DataError, match=r'line 1 has no "ts"'):
        read(line(tmp_path, json.dumps(GOOD | {"ts": "NaT"})))


@pytest.mark.parametrize("cell", ["", '""', "NaN", "nan", "NaT", "<NA>"])
def test_empty_cells_are_missing(tmp_path, cell):
    path = tmp_path / "r.csv"
    path.write_text(f"user_id,input,output,ts\nu,hi,{cell},2026\n", encoding="utf-8")
    with pytest.raises(DataError, match=r'^r\.csv, line 2 has no "output"'):
        read(path)


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.float16()])
def test_nan_in_parquet_is_missing(tmp_path, kind):
    with pytest.raises(DataError, match=r'^r\.parquet, row 1 has no "output"'):
        read(parquet(tmp_path, output=pa.array([np.float16("nan")], kind)))
    with pytest.raises(DataError, match=r'^r\.parquet, row 1 has no "user_id"'):
        read(parquet(tmp_path, user_id=pa.array([np.float16("inf")], kind)))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (pa.array([True]), 'has true or false as "output". Write it as text.'),
        (pa.array([["a"]]), 'has a list as "output". Write it as text.'),
        (pa.array([{"text": "a"}]), 'has an object as "output". Write it as text.'),
        (pa.array([b"caf\xe9"]), 'has bytes as "output" that are not UTF-8.'),
        (pa.Array.from_buffers(pa.string(), 1, pa.array([b"caf\xe9"]).buffers()), 'has bytes as "output" that are not'),
    ],
)
def test_parquet_values_that_are_no_text_are_named(tmp_path, values, told):
    with pytest.raises(DataError) as caught:
        read(parquet(tmp_path, output=values))
    assert str(caught.value).startswith(f"r.parquet, row 1 {told}")


@pytest.mark.parametrize(
    ("stamps", "text"),
    [
        (pa.array([datetime(2026, 1, 1, tzinfo=UTC)]), "2026-01-01T00:00:00+00:00"),
        (pa.array([datetime(2026, 1, 1, tzinfo=NEW_YORK)]), "2026-01-01T05:00:00+00:00"),
        (pa.array([1_767_225_600_123_456_789], pa.timestamp("ns", "Asia/Tokyo")), "2026-01-01T00:00:00.123456+00:00"),
        (pa.array([1_767_225_600_123_456_789], pa.timestamp("ns")), "2026-01-01T00:00:00.123456"),
        (pa.array([datetime(2026, 1, 1, 9)]), "2026-01-01T09:00:00"),
        (pa.array([1_767_225_600], pa.timestamp("s")), "2026-01-01T00:00:00"),
        (pa.array([date(2026, 1, 1)]), "2026-01-01"),
        (pa.array([date(2026, 1, 1)], pa.date64()), "2026-01-01"),
        (pa.array([1_767_225_600]), "1767225600"),
        (pa.array([1_767_225_600.0]), "1767225600"),
        (pa.array([datetime(2026, 1, 1)]).dictionary_encode(), "2026-01-01T00:00:00"),
    ],
)
def test_parquet_times_are_iso_text_in_utc(tmp_path, stamps, text):
    assert only(read(parquet(tmp_path, ts=stamps)))[1].ts == text


def test_both_sides_of_a_change_of_clocks_stay_apart(tmp_path):
    stamps = pa.array([1_793_511_000, 1_793_513_400, 1_793_514_000], pa.timestamp("s", "America/New_York"))
    table = pa.table({"user_id": ["u"] * 3, "input": ["a", "b", "c"], "output": ["x"] * 3, "ts": stamps})
    pq.write_table(table, tmp_path / "r.parquet")
    (user,) = read(tmp_path / "r.parquet").users
    assert [part.input for part in (*user.history, *user.queries)] == ["a", "b", "c"]


@pytest.mark.parametrize("stamps", [pa.array([2**62], pa.timestamp("us")), pa.array([2**30], pa.date32())])
def test_times_beyond_all_years_do_not_end_in_a_traceback(tmp_path, stamps):
    with pytest.raises(DataError, match=r'row 1 has a "ts" that is no date\.'):
        read(parquet(tmp_path, ts=stamps))


def test_times_of_day_are_text(tmp_path):
    assert only(read(parquet(tmp_path, input=pa.array([time(9, 30)]))))[1].input.startswith("09:30")


@pytest.mark.parametrize("blank", ["", "  ", "\n", "\u200b", "\ufeff "])
def test_a_blank_answer_is_none(tmp_path, blank):
    with pytest.raises(DataError, match=r'^r\.jsonl, line 1 has a blank "output"\. Write the answer'):
        read(line(tmp_path, json.dumps(GOOD | {"output": blank})))


def test_what_messages_quote_stays_on_their_line(tmp_path):
    labels = replace(TEXT_TASK, kind="classification", labels=("yes", "no"))
    path = line(tmp_path, json.dumps(GOOD | {"output": "yes\nor \x1b[31mno\u2028" + "really " * 1000}))
    with pytest.raises(DataError) as caught:
        read_records(path, labels, EVERYBODY)
    told = r'r.jsonl, line 1 has "yes\nor \x1b[31mno\u2028really really really real..." as "output", which is not among'
    assert str(caught.value).startswith(told)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (r'{"a\nb": 1, "a\nb": 2}', r'r.jsonl, line 1 says "a\nb" twice.'),
        (r'{"\ud800": 1, "\ud800": 2}', r'r.jsonl, line 1 says "\ud800" twice.'),
        (json.dumps(GOOD | {"ts": "20\n21"}), r'r.jsonl, line 1 has a "ts" that is no date. "20\n21" cannot be read'),
    ],
)
def test_keys_and_dates_stay_on_the_line_too(tmp_path, text, told):
    with pytest.raises(DataError) as caught:
        read(line(tmp_path, text))
    assert str(caught.value).startswith(told)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("number", "scale", "text"),
    [
        ("1" * 38, 0, "1" * 38),
        ("1" * 32 + ".250000", 6, "1" * 32 + ".250000"),
        ("0.00000010", 8, "0.00000010"),
        ("7", 2, "7"),
    ],
)
def test_decimals_of_any_length_are_read_as_they_are_written(tmp_path, number, scale, text):
    column = pa.array([Decimal(number)], pa.decimal128(38, scale))
    assert only(read(parquet(tmp_path, output=column)))[1].output == text


def test_uuids_are_text(tmp_path):
    column = pa.array([UUID(int=5).bytes], pa.uuid())
    assert only(read(parquet(tmp_path, user_id=column)))[0] == "00000000-0000-0000-0000-000000000005"


def test_two_columns_of_one_name_are_refused(tmp_path):
    columns = [*GOOD.items(), ("ts", "2027")]
    table = pa.Table.from_arrays([pa.array([value]) for _, value in columns], names=[name for name, _ in columns])
    pq.write_table(table, tmp_path / "r.parquet")
    with pytest.raises(DataError, match=r'^r\.parquet: two columns are called "ts"\. Rename one\.$'):
        read(tmp_path / "r.parquet")


def test_a_record_that_says_a_key_twice_is_refused(tmp_path):
    text = '{"user_id": "u", "input": "hi", "output": "a", "output": "b", "ts": "2026"}'
    with pytest.raises(DataError, match=r'^r\.jsonl, line 1 says "output" twice\. Leave one of them\.$'):
        read(line(tmp_path, text))


@pytest.mark.parametrize("name", ["r.jsonl", "r.json", "r.csv"])
def test_a_byte_order_mark_is_no_part_of_a_record(tmp_path, name):
    text = {
        "r.jsonl": json.dumps(GOOD),
        "r.json": json.dumps([GOOD]),
        "r.csv": "user_id,input,output,ts\nu,hi,ho,2026",
    }[name]
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    assert only(read(tmp_path / name))[0] == "u"


def test_files_with_marks_that_were_put_together_are_read(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"".join(json.dumps(GOOD | {"user_id": user}).encode("utf-8-sig") + b"\n" for user in "ab"))
    assert [user.key.user for user in read(path).users] == ["a", "b"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["r.jsonl", "r.json", "r.csv"])
def test_other_unicode_encodings_are_named_once(tmp_path, name, encoding):
    text = "user_id,input,output,ts\nu,hi,ho,2026" if name == "r.csv" else json.dumps([GOOD] * 20)
    (tmp_path / name).write_bytes(text.encode(encoding))
    with pytest.raises(DataError) as caught:
        read(tmp_path / name)
    assert str(caught.value) == f"{name}: the file is UTF-16 or UTF-32, not UTF-8. Save the file as UTF-8."


def test_csv_in_another_encoding_is_named_with_its_line(tmp_path):
    path = tmp_path / "r.csv"
    path.write_bytes("user_id,input,output,ts\nu,hi,ho,2026\nu,hi,café,2026\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"^r\.csv, line 3 is not UTF-8\. Save the file as UTF-8\.$"):
        read(path)
