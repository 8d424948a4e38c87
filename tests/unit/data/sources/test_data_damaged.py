"""Damaged files: one line that names the file, whenever the damage shows."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hydra_ray.data.errors import DataError
from hydra_ray.data.split import Split
from hydra_ray.data.table import read_records
from hydra_ray.tasks import TEXT_TASK

EVERYBODY = Split("train", queries_per_user=1, dev_share=1e-9, seed=0)
RECORDS = [
    {"user_id": f"u{number % 7}", "input": f"note {number * 7919}", "output": f"fine {number}", "ts": "2026"}
    for number in range(5000)
]
TEXT = "\n".join(map(json.dumps, RECORDS)).encode()


def complaint(path: Path) -> str:
    """What is said of a file; it is never more than a line, and nothing may be skipped of it."""
    with pytest.raises(DataError) as caught:
        read_records(path, TEXT_TASK, EVERYBODY, skip_bad=0.9)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def parquet(tmp_path) -> Path:
    path = tmp_path / "r.parquet"
    pq.write_table(pa.Table.from_pylist(RECORDS), path, row_group_size=1000, write_page_checksum=True)
    return path


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.9, 0.9999])
def test_truncated_parquet_is_one_line(parquet, share):
    raw = parquet.read_bytes()
    parquet.write_bytes(raw[: int(len(raw) * share)])
    told = complaint(parquet)
    assert told.startswith("r.parquet: not a Parquet file, or a damaged one (")
    assert told.endswith(" Write or download it again.")


def test_damage_that_shows_late_is_one_line_with_the_row(parquet):
    raw = bytearray(parquet.read_bytes())
    group = pq.ParquetFile(parquet).metadata.row_group(3)
    start = group.column(1).data_page_offset
    raw[start + 40 : start + 80] = bytes(40)
    parquet.write_bytes(raw)
    assert complaint(parquet).startswith("r.parquet: not a Parquet file, or a damaged one")


@pytest.mark.parametrize("seed", range(25))
def test_no_damage_ends_in_a_traceback(tmp_path, parquet, seed):
    raw, draw = bytearray(parquet.read_bytes()), random.Random(seed)
    # Not in the footer: a damaged description may ask for any amount of memory.
    start = draw.randrange(4, len(raw) // 2)
    raw[start : start + 30] = draw.randbytes(30)
    parquet.write_bytes(raw)
    assert complaint(parquet).startswith("r.parquet: ")


@pytest.mark.parametrize("content", [b"", b"not parquet", b"PAR1", b"PAR1" * 10, b'{"user_id": "u"}', bytes(100)])
def test_what_is_no_parquet_at_all_is_one_line(tmp_path, content):
    path = tmp_path / "r.parquet"
    path.write_bytes(content)
    assert complaint(path).startswith("r.parquet: not a Parquet file, or a damaged one (")


def zstd(raw: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(raw)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(("ending", "pack", "codec"), [("gz", gzip.compress, "gzip"), ("zst", zstd, "zstd")])
@pytest.mark.parametrize("cut", [-1, -9, 3000, 20, 4])
def test_a_truncated_compressed_file_is_not_whole(tmp_path, ending, pack, codec, cut):
    path = tmp_path / f"r.jsonl.{ending}"
    path.write_bytes(pack(TEXT)[:cut])
    assert complaint(path) == (
        f"r.jsonl.{ending}: not a whole {codec} file (Truncated compressed stream). Download it again."
    )


@pytest.mark.parametrize("name", ["r.jsonl.gz", "r.csv.zst", "r.json.bz2", "r.parquet.gz"])
@pytest.mark.parametrize("content", [b"", b"user_id,input", b"\x1f"])
def test_what_is_not_compressed_as_its_name_says_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert complaint(tmp_path / name).startswith(f"{name}: not a whole ")


def test_bytes_that_changed_in_a_gzip_file_are_noticed(tmp_path):
    raw = bytearray(gzip.compress(TEXT))
    raw[-6] ^= 0xFF
    (tmp_path / "r.jsonl.gz").write_bytes(raw)
    assert complaint(tmp_path / "r.jsonl.gz").startswith("r.jsonl.gz: not a whole gzip file (")


def test_a_truncated_json_array_is_not_whole(tmp_path):
    path = tmp_path / "r.json"
    path.write_text(json.dumps(RECORDS[:3])[:-1], encoding="utf-8")
    told = complaint(path)
    assert told.startswith("r.json: not JSON at line 1, column ")
    assert told.endswith("The file is not whole.")


def test_an_object_over_several_lines_is_named_once(tmp_path):
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"records": RECORDS[:3]}, indent=2), encoding="utf-8")
    assert complaint(path).startswith("r.json: one JSON object over several lines.")


def test_a_quote_that_does_not_end_is_named_with_its_line(tmp_path):
    path = tmp_path / "r.csv"
    rest = "\n".join(f"u,hi {number},ho,2026" for number in range(100))
    path.write_text(f'user_id,input,output,ts\nu,hi,ho,2026\nu,"hi,ho,2026\n{rest}\n', encoding="utf-8")
    assert complaint(path) == "r.csv, line 3: a text in quotes begins here and does not end. Close the quotes."


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("user_id,input,ts", 'r.csv: no column "output". Records need'),
        ("user_id,input,output,ts,ts", 'r.csv, line 1: two columns are called "ts". Rename one.'),
        ("a b c", 'r.csv: no column "user_id".'),
    ],
)
def test_a_header_that_does_not_fit_is_named(tmp_path, header, told):
    (tmp_path / "r.csv").write_text(f"{header}\nu,hi,ho,2026\n", encoding="utf-8")
    assert complaint(tmp_path / "r.csv").startswith(told)


def test_cells_longer_than_a_library_likes_are_read(tmp_path):
    text = "word " * 100_000
    (tmp_path / "r.csv").write_text(f"user_id,input,output,ts\nu,{text},ho,2026\n", encoding="utf-8")
    (user,) = read_records(tmp_path / "r.csv", TEXT_TASK, EVERYBODY).users
    assert user.history[0].input == text


@pytest.mark.parametrize("above", ["\n", "  \n\n", "\r\n"])
def test_blank_lines_above_a_header_are_none_of_it(tmp_path, above):
    path = tmp_path / "r.csv"
    path.write_text(f"{above}user_id,input,output,ts\nu,hi,ho,2026\nu,hi,ho,soon\n", encoding="utf-8", newline="")
    line = 3 + above.count("\n")
    assert f'r.csv, line {line} has a "ts" that is no date.' in complaint_of_bad(path)


def complaint_of_bad(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_records(path, TEXT_TASK, EVERYBODY)
    return str(caught.value)


def test_a_name_in_a_header_may_go_over_lines(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text('user_id,"a\nnote",input,output,ts\nu,x,hi,ho,2026\nu,x,hi,ho,soon\n', encoding="utf-8")
    assert complaint_of_bad(path).startswith('r.csv, line 4 has a "ts" that is no date.')
    path.write_text('"user_id"s,input,output,ts\nu,hi,ho,2026\n', encoding="utf-8")
    assert complaint(path).startswith("r.csv, line 1: the names of the columns are not CSV (")


def test_lines_of_blanks_are_no_rows(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("user_id,input,output,ts\nu,hi,ho,2026\n   \n\t\n", encoding="utf-8")
    assert len(read_records(path, TEXT_TASK, EVERYBODY).users) == 1


@pytest.mark.parametrize("name", ["r.jsonl", "r.json", "r.csv"])
def test_a_parquet_file_by_another_name_is_named(parquet, name):
    path = parquet.rename(parquet.parent / name)
    assert complaint(path) == f"{name}: the file is Parquet. Mend the ending of its name."


def test_a_file_that_was_packed_twice_is_named(tmp_path):
    (tmp_path / "r.jsonl.gz").write_bytes(gzip.compress(gzip.compress(TEXT)))
    assert complaint(tmp_path / "r.jsonl.gz") == "r.jsonl.gz: what is in it is gzip once more. Unpack it once."


@pytest.mark.parametrize("place", ["logs", "logs/*", "logs/**", "logs/**/*.jsonl", "logs/b.json*"])
def test_a_link_to_nothing_is_named_and_not_passed_over(tmp_path, place):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.jsonl").write_bytes(TEXT)
    (tmp_path / "logs" / "b.jsonl").symlink_to(tmp_path / "gone.jsonl")
    told = complaint(tmp_path / place)
    assert told == f"{tmp_path}/logs/b.jsonl: a link to a file that is not there. Mend the link, or take it away."


@pytest.mark.parametrize("name", [".b.jsonl", "_b.jsonl"])
def test_hidden_links_to_nothing_are_passed_over(tmp_path, name):
    (tmp_path / "a.jsonl").write_bytes(TEXT)
    (tmp_path / name).symlink_to(tmp_path / "gone.jsonl")
    assert len(read_records(tmp_path, TEXT_TASK, EVERYBODY).users) == 7
