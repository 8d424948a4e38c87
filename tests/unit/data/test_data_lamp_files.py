"""LaMP's files as they are kept: compressed, with marks of editors, of another data set, with texts missing."""

from __future__ import annotations

import bz2
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from defaults import read_lamp

from hydra_ray.data.dataset import Dataset
from hydra_ray.data.errors import DataError
from hydra_ray.tasks import TASKS

ASKED = "Generate a subject for the following email: x"
QUESTIONS = [
    {"id": "1", "input": ASKED, "profile": [{"id": "10", "text": "Hi", "title": "Ho"}]},
    {"id": "2", "input": ASKED, "profile": [{"id": "20", "text": "Hi", "title": None}]},
]
OUTPUTS = {"task": "LaMP_6", "golds": [{"id": "1", "output": "a"}, {"id": "2", "output": "b"}]}


def read(folder: Path | str, task: str = "LaMP_6", **more: Any) -> Dataset:
    return read_lamp(folder, TASKS[task], "dev", **more)[1]


def write(folder: Path, questions: Any, outputs: Any = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "dev_questions.json").write_text(json.dumps(questions), encoding="utf-8")
    if outputs is not None:
        (folder / "dev_outputs.json").write_text(json.dumps(outputs), encoding="utf-8")
    return folder


@pytest.mark.parametrize(("ending", "pack"), [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress)])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_compressed_files_and_marks_read_as_plain_ones_do(tmp_path, ending, pack, encoding):
    expected = read(write(tmp_path / "plain", QUESTIONS[:1], OUTPUTS | {"golds": OUTPUTS["golds"][:1]}))
    for name, content in (("questions", QUESTIONS[:1]), ("outputs", OUTPUTS | {"golds": OUTPUTS["golds"][:1]})):
        (tmp_path / f"dev_{name}.json{ending}").write_bytes(pack(json.dumps(content).encode(encoding)))
    assert read(tmp_path) == read(str(tmp_path)) == read(tmp_path.as_uri()) == expected
    assert expected.golds == {"1": "a"}


def test_the_plain_file_goes_before_the_compressed_one(tmp_path):
    write(tmp_path, QUESTIONS[:1])
    (tmp_path / "dev_questions.json.gz").write_bytes(b"something else")
    assert [user.key.user for user in read(tmp_path).users] == ["1"]


def test_a_truncated_file_is_not_whole(tmp_path):
    (tmp_path / "dev_questions.json.gz").write_bytes(gzip.compress(json.dumps(QUESTIONS).encode())[:-9])
    with pytest.raises(DataError, match=r"^dev_questions\.json\.gz: not a whole gzip file \(Truncated"):
        read(tmp_path)


def test_an_item_without_the_text_to_learn_from_is_an_error_or_left_out(tmp_path):
    write(tmp_path, QUESTIONS, OUTPUTS)
    with pytest.raises(DataError, match=r'^dev_questions\.json, record 2 \(id "2"\): profile item 1 has no "title"\.'):
        read(tmp_path)
    data = read(tmp_path, skip_bad=1)
    assert [len(user.history) for user in data.users] == [1, 0]
    assert data.golds == {"1": "a", "2": "b"}
    assert data.left_out.examples == {'has no "title"': ['dev_questions.json, record 2 (id "2"): profile item 1']}


@pytest.mark.parametrize(
    "row",
    [
        {"reviewerId": "u", "input": ASKED, "output": "long", "profile": [{"overall": 5.0, "reviewText": "c"}]},
        {"name": "u", "input": ASKED, "output": "an abstract", "profile": []},
        {"author": "u", "input": ASKED, "output": "a post", "profile": []},
    ],
)
def test_rows_of_longlamp_are_told_from_questions(tmp_path, row):
    with pytest.raises(DataError) as caught:
        read(write(tmp_path, [row]), "LaMP_4")
    told = str(caught.value)
    assert told.startswith('dev_questions.json, record 1 has no "id", but "output"')
    assert "it looks like a row of LongLaMP, which is another task than LaMP_4" in told
    assert 'LaMP_4 items need "id", "text" and "title". Answers are in the outputs file.' in told
    assert "\n" not in told


def test_blank_users_are_nobody_and_blanks_around_ids_are_counted(tmp_path):
    with pytest.raises(DataError, match=r'record 1 \(id "1"\) has a "user_id" that is blank'):
        read(write(tmp_path, [QUESTIONS[0] | {"user_id": "  "}]))
    with pytest.raises(DataError, match=r'record 1 \(id " "\) has a "id" that is blank'):
        read(write(tmp_path, [QUESTIONS[0] | {"id": " "}]))
    data = read(write(tmp_path, [QUESTIONS[0] | {"user_id": "ann "}, QUESTIONS[0] | {"id": "3", "user_id": "ann"}]))
    assert [user.key.user for user in data.users] == ["ann"]
    assert data.left_out.counts.total() == 1


def test_ids_that_lost_digits_are_refused(tmp_path):
    with pytest.raises(DataError, match=r'has 1\.2345678901234568e\+17 as "id", which went through floats'):
        read(write(tmp_path, [QUESTIONS[0] | {"id": 1.2345678901234568e17}]))


def test_no_question_at_all_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"^dev_questions\.json: there is no record in it\.$"):
        read(write(tmp_path, []))
