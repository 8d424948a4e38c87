"""Whatever the format, compression and place, the same records are read, and errors say where they are."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from defaults import read_chat, read_records, read_reviews, split_of
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_ray.data.dataset import Dataset
from hydra_ray.data.errors import DataError
from hydra_ray.data.reviews import ReviewFilters
from hydra_ray.tasks import TEXT_TASK

# Everybody is in split train.
EVERYBODY = split_of("train", queries_per_user=1, dev_share=1e-9, seed=0)
RECORDS = [
    {"user_id": "ann", "input": "Zoë, are\nyou in?", "output": 'yes, "at six"', "ts": "2026-01-01"},
    {"user_id": "bob", "input": "lunch; or tea", "output": "tea", "ts": "2026-01-02"},
    {"user_id": "ann", "input": "café\tor bar", "output": "bar", "ts": "2026-01-03"},
]


def as_lines(records: list[dict[str, Any]]) -> bytes:
    return "\n".join(map(json.dumps, records)).encode()


def as_csv(records: list[dict[str, Any]], delimiter: str = ",") -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode()


def as_parquet(records: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records), sink)
    return sink.getvalue()


def packed(raw: bytes, ending: str) -> bytes:
    if ending in (".zst", ".lz4"):
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, {".zst": "zstd", ".lz4": "lz4"}[ending]) as stream:
            stream.write(raw)
        return sink.getvalue().to_pybytes()
    return {"": raw, ".gz": gzip.compress(raw), ".bz2": bz2.compress(raw)}[ending]


FILES = {
    "r.jsonl": as_lines(RECORDS),
    "r.ndjson": b"\n" + as_lines(RECORDS).replace(b"\n", b"\r\n\r\n") + b"\n\n",
    "lines.json": as_lines(RECORDS),
    "r.json": json.dumps(RECORDS, indent=2).encode(),
    "array.jsonl": json.dumps(RECORDS).encode(),
    "r.csv": as_csv(RECORDS),
    "semicolons.csv": as_csv(RECORDS, ";"),
    "r.tsv": as_csv(RECORDS, "\t"),
    "r.parquet": as_parquet(RECORDS),
    "UPPER.JSONL": as_lines(RECORDS),
    "part-00000": as_lines(RECORDS),
    "export.dat": as_parquet(RECORDS),
}


def read(place: Path | str, **more: Any) -> Dataset:
    return read_records(place, TEXT_TASK, EVERYBODY, **more)


def told(data: Dataset) -> list[tuple[str, str, str]]:
    """What each user said, oldest first."""
    parts = [(user.key.user, part.input, part) for user in data.users for part in (*user.history, *user.queries)]
    return sorted((user, text, getattr(part, "output", "") or data.golds[part.id]) for user, text, part in parts)


@pytest.fixture
def expected(tmp_path):
    (tmp_path / "expected.jsonl").write_bytes(as_lines(RECORDS))
    return told(read(tmp_path / "expected.jsonl"))


@pytest.mark.parametrize("ending", ["", ".gz", ".zst", ".bz2", ".lz4"])
@pytest.mark.parametrize("name", FILES)
def test_every_format_and_compression_reads_the_same(tmp_path, expected, name, ending):
    path = tmp_path / f"{name}{ending}"
    path.write_bytes(packed(FILES[name], ending))
    assert expected == sorted((record["user_id"], record["input"], record["output"]) for record in RECORDS)
    assert told(read(path)) == expected
    assert told(read(path.as_uri())) == expected


def test_a_compressed_file_without_its_ending_is_unpacked(tmp_path, expected):
    (tmp_path / "r.jsonl").write_bytes(gzip.compress(FILES["r.jsonl"]))
    assert told(read(tmp_path / "r.jsonl")) == expected


def test_members_of_a_gzip_file_are_all_read(tmp_path, expected):
    lines = FILES["r.jsonl"].splitlines(keepends=True)
    (tmp_path / "r.jsonl.gz").write_bytes(b"".join(map(gzip.compress, lines)))
    assert told(read(tmp_path / "r.jsonl.gz")) == expected


@pytest.fixture
def folder(tmp_path):
    """One record a file, each of another format, beside what is no data."""
    below = tmp_path / "data"
    (below / "b").mkdir(parents=True)
    (below / "part-1.jsonl").write_bytes(as_lines(RECORDS[2:]))
    (below / "b" / "part-0.csv.gz").write_bytes(gzip.compress(as_csv(RECORDS[1:2])))
    (below / "a.parquet").write_bytes(as_parquet(RECORDS[:1]))
    for name in ("_SUCCESS", "_metadata.json", ".part-1.jsonl.crc", "b/.hidden.jsonl"):
        (below / name).write_bytes(b"nothing to read")
    return below


@pytest.mark.parametrize("place", ["data", "data/", "data/**", "dat*", "data/**/*[a-z]"])
def test_folders_and_globs_are_read_whole(folder, expected, monkeypatch, place):
    monkeypatch.chdir(folder.parent)
    assert told(read(place)) == expected
    assert told(read(f"{folder.parent}/{place}")) == expected
    assert told(read(f"file://{folder.parent}/{place}")) == expected


@pytest.mark.parametrize(
    ("pattern", "users"),
    [
        ("*.jsonl", ["ann"]),
        ("*/*", ["bob"]),
        ("part-?.jsonl", ["ann"]),
        ("[ab]*", ["ann", "bob"]),
        ("**/*.gz", ["bob"]),
    ],
)
def test_a_glob_takes_what_it_matches(folder, pattern, users):
    assert sorted(user.key.user for user in read(f"{folder}/{pattern}").users) == users


def test_a_file_whose_name_looks_like_a_glob_is_itself(tmp_path, expected):
    (tmp_path / "r[1].jsonl").write_bytes(FILES["r.jsonl"])
    assert told(read(tmp_path / "r[1].jsonl")) == expected


def test_files_are_read_in_the_order_of_their_names(tmp_path):
    for number in (2, 0, 1):
        turns = {"messages": [{"role": "user", "content": str(number)}], "output": "ok", "user_id": "ann"}
        (tmp_path / f"part-{number}.jsonl").write_text(json.dumps(turns), encoding="utf-8")
    (user,) = read_chat(tmp_path, EVERYBODY).users
    assert [part.input for part in (*user.history, *user.queries)] == ["0", "1", "2"]


def test_what_is_no_data_in_a_folder_is_said(folder, expected, caplog):
    (folder / "README.md").write_text("# Records", encoding="utf-8")
    data = read(folder)
    assert told(data) == expected
    assert data.left_out.examples == {"files that are no records": ["data/README.md"]}
    assert "data/README.md: not read" in caplog.text


def test_folders_named_after_fields_say_them(tmp_path):
    for user, day in (("ann%20b", "2026-01-01"), ("bob", "2026-01-02")):
        below = tmp_path / "r" / f"user_id={user}" / f"ts={day}"
        below.mkdir(parents=True)
        (below / "part-0.parquet").write_bytes(as_parquet([{"input": "hi", "output": "ho"}]))
    people = read(tmp_path / "r").users
    assert [(user.key.user, user.history[0].ts) for user in people] == [("ann b", "2026-01-01"), ("bob", "2026-01-02")]
    assert [user.key.user for user in read(f"{tmp_path}/r/user_id=b*").users] == ["bob"]


def test_a_partition_without_a_value_is_missing(tmp_path):
    below = tmp_path / "user_id=__HIVE_DEFAULT_PARTITION__"
    below.mkdir()
    (below / "p.jsonl").write_bytes(as_lines([{"input": "hi", "output": "ho", "ts": "2026"}]))
    with pytest.raises(DataError, match=r'p\.jsonl, line 1 has no "user_id"'):
        read(tmp_path)


def test_reviews_and_conversations_are_read_from_tables(tmp_path):
    reviews = [
        {"user_id": "u", "parent_asin": "a", "title": "Ok", "text": "Good.", "rating": 4.0, "timestamp": day}
        for day in (1, 2)
    ]
    items = [{"parent_asin": "a", "title": "Film", "description": ["About", "it."]}]
    (tmp_path / "r.csv.gz").write_bytes(gzip.compress(as_csv(reviews)))
    (tmp_path / "m.parquet").write_bytes(as_parquet(items))
    data = read_reviews(tmp_path / "r.csv.gz", tmp_path / "m.parquet", EVERYBODY, ReviewFilters(1, 1, 99, 1, 1, 99))
    assert data.users[0].history[0].input.endswith("item: Film, description: About it.")

    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    chats = [{"user_id": "u", "messages": messages, "output": "Ho", "ts": f"2026-01-0{day}"} for day in (1, 2)]
    (tmp_path / "c.parquet").write_bytes(as_parquet(chats))
    (tmp_path / "c.csv").write_bytes(as_csv([chat | {"messages": json.dumps(messages)} for chat in chats]))
    assert read_chat(tmp_path / "c.parquet", EVERYBODY) == read_chat(tmp_path / "c.csv", EVERYBODY)
    assert [turn.content for turn in read_chat(tmp_path / "c.csv", EVERYBODY).users[0].queries[0].turns] == ["Be kind."]


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("r.jsonl", as_lines([RECORDS[0], {"user_id": "u"}]), "r.jsonl, line 2"),
        ("r.json", json.dumps([RECORDS[0], {"user_id": "u"}]).encode(), "r.json, record 2"),
        # The first record has a line end in its text, and the header is a line.
        ("r.csv", as_csv(RECORDS) + b"u,,,\n", "r.csv, line 6"),
        ("r.parquet", as_parquet([RECORDS[0], RECORDS[1] | {"ts": None}]), "r.parquet, row 2"),
    ],
)
@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_the_place_of_a_bad_record_is_named_through_compression(tmp_path, name, content, place, ending):
    (tmp_path / f"{name}{ending}").write_bytes(packed(content, ending))
    place = place.replace(name, f"{name}{ending}")
    with pytest.raises(DataError) as caught:
        read(tmp_path / f"{name}{ending}")
    assert str(caught.value).startswith(f'{place} has no "ts".')
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert f'{tmp_path.name}/{place} has no "ts".' in str(caught.value)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("gone.jsonl", "gone.jsonl: no such file. Point data.path at a file, a folder of files or a glob."),
        ("*.jsonl", "*.jsonl: no such file."),
        ("nothing", "nothing: the folder has no file in it."),
        ("notes", "notes: no file in it is of records, which are JSON Lines"),
        ("notes/a.txt", "a.txt: of no known format: records are JSON Lines"),
        ("sheet.csv", "sheet.csv: a zip archive or a spreadsheet. Unpack it, or save it as CSV."),
        ("https://example.com/r.jsonl", "https://example.com/r.jsonl: no place that can be read (Unrecognized filesys"),
    ],
)
def test_a_place_without_records_is_named(tmp_path, monkeypatch, place, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nothing").mkdir()
    (tmp_path / "notes").mkdir()
    for name in "ab":
        (tmp_path / "notes" / f"{name}.txt").write_text("Dear all", encoding="utf-8")
    (tmp_path / "sheet.csv").write_bytes(b"PK\x03\x04rest")
    with pytest.raises(DataError) as caught:
        read(place)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=20)
filled = texts.filter(lambda text: text not in ("", "nan", "NaN", "NaT", "<NA>"))


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(filled, filled), min_size=1, max_size=6), delimiter=st.sampled_from(",;\t"))
def test_whatever_texts_hold_csv_and_parquet_read_as_json_lines_do(tmp_path_factory, rows, delimiter):
    folder = tmp_path_factory.mktemp("any")
    records = [
        {"user_id": f"u{number}", "input": asked, "output": said, "ts": "2026"}
        for number, (asked, said) in enumerate(rows)
    ]
    (folder / "r.jsonl").write_bytes(as_lines(records))
    (folder / "r.csv").write_bytes(as_csv(records, delimiter))
    (folder / "r.parquet").write_bytes(as_parquet(records))
    lines = read(folder / "r.jsonl")
    assert [(user.history[0].input, user.history[0].output) for user in lines.users] == rows
    assert read(folder / "r.csv") == lines
    assert read(folder / "r.parquet") == lines


@settings(max_examples=60, deadline=None)
@given(raw=st.binary(max_size=60), name=st.sampled_from(["r.jsonl", "r.json", "r.csv", "r.parquet", "r.jsonl.gz", "r"]))
def test_whatever_a_file_holds_only_data_errors_come_of_it(tmp_path_factory, raw, name):
    path = tmp_path_factory.mktemp("any") / name
    path.write_bytes(raw)
    with pytest.raises(DataError):
        read(path)
