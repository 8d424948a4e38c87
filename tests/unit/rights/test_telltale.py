"""What identifies a user in a file, and what does not."""

import gzip
import html
import json
import lzma
import sqlite3

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.rights.erasure.finder import Finder
from hydra_ray.rights.erasure.search import files_below, holds
from hydra_ray.rights.erasure.telltale import PIECE, Telltale

SAID = 'a long walk by the river with my dog, and then "home" & <tea>'
LONG = " ".join(f"word{number}" for number in range(100))


def telltale(*texts, others=()):
    made = Telltale()
    made.add(texts)
    made.take_away(others)
    return made


def test_labels_and_what_others_wrote_too_are_no_evidence():
    assert telltale("comedy", "so short").found == set()
    assert telltale(SAID, others=[f"they say: {SAID}"]).found == set()
    assert telltale(SAID, others=["another walk"]).in_text(SAID)


def test_of_a_text_that_begins_like_anothers_the_rest_is_evidence():
    mine = telltale(
        f"Dear customer service team of the big shop, {LONG}", others=["Dear customer service team of the big shop, no"]
    )
    assert mine.in_text(LONG)
    assert not mine.in_text("Dear customer service team of the big shop, yes")


def test_a_text_that_was_cut_or_broken_into_lines_is_found():
    mine = telltale(LONG)
    assert mine.in_text(LONG[: 2 * PIECE])
    assert mine.in_text(LONG[-PIECE:])
    assert mine.in_text(LONG.replace(" ", "\n  "))
    assert not mine.in_text(LONG[: PIECE // 2])


@pytest.mark.parametrize("write", [str, json.dumps, html.escape, lambda text: json.dumps(text, ensure_ascii=False)])
def test_a_text_is_found_however_it_is_written(tmp_path, write):
    path = tmp_path / "file"
    path.write_text(f"before {write(SAID)} after", encoding="utf-8")
    assert holds(path, telltale(SAID))
    assert not holds(path, telltale(SAID[::-1]))


def test_a_text_with_line_breaks_is_found_in_json(tmp_path):
    path = tmp_path / "file.jsonl"
    path.write_text(json.dumps({"text": "first line of it\nsecond line of it"}))
    assert holds(path, telltale("first line of it\nsecond line of it"))


def nested(path):
    row = {"user": "x", "prompt": [{"role": "user", "content": f"see: {LONG}"}]}
    pq.write_table(pa.Table.from_pylist([row]), path, compression="zstd")


def metadata(path):
    table = pa.table({"a": [1]}).replace_schema_metadata({b"about": json.dumps({"said": LONG})})
    pq.write_table(table, path)


def binary(path):
    pq.write_table(pa.table({"a": [LONG.encode()]}), path)


def rows(path):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE t (a TEXT)")
        # Too long for one page: it lies in pieces.
        db.execute("INSERT INTO t VALUES (?)", ("y" * 4_000 + LONG + "x" * 50_000,))
    db.close()


def deleted(path):
    rows(path)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA secure_delete = OFF")
        db.execute("DELETE FROM t")
    db.close()


def cut_off(path):
    path.write_bytes(b"PAR1" + LONG.encode())


@pytest.mark.parametrize(
    "write",
    [
        nested,
        metadata,
        binary,
        rows,
        deleted,
        cut_off,
        lambda path: path.write_bytes(gzip.compress(LONG.encode())),
        lambda path: path.write_bytes(lzma.compress(LONG.encode())),
        lambda path: path.write_bytes(b"\x1f\x8b no gzip" + LONG.encode()),
        lambda path: path.write_bytes(b"z" * (1 << 22) + LONG.encode()),
        lambda path: path.write_bytes(b"z" * ((1 << 22) - 10) + LONG[:PIECE].encode() + b"z" * 100),
    ],
)
def test_a_text_is_found_in_whatever_a_file_is(tmp_path, write):
    path = tmp_path / "file"
    write(path)
    assert holds(path, telltale(LONG))
    assert not holds(path, telltale(LONG.upper()))


def test_files_are_looked_at_once_whatever_leads_there(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    found = files_below([tmp_path / "a", tmp_path, tmp_path / "link", tmp_path / "absent"])
    assert found == [(tmp_path / "a" / "b" / "file").resolve()]


@given(st.lists(st.binary(min_size=4, max_size=8), max_size=5), st.binary(max_size=60), st.integers(0, 60))
def test_the_finder_says_what_a_search_one_by_one_says(wanted, content, at):
    for planted in (content, content[:at] + b"".join(wanted[:1]) + content[at:]):
        assert Finder(wanted).is_in(planted) == any(one in planted for one in wanted)
