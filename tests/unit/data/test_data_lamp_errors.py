"""LaMP files that cannot be read: the message names file, record, field and the way out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hydra_ray.data.errors import DataError
from hydra_ray.data.lamp import read_lamp
from hydra_ray.tasks import TASKS

TAGS = TASKS["LaMP_2M"]
INSTRUCTION = "Which tag fits? tags: [sci-fi, comedy, true story] description:"


def item(name: str, tag: str = "comedy", **more: Any) -> dict[str, Any]:
    return {"id": name, "description": f"film {name}", "tag": tag, **more}


def question(name: str, *profile: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": name, "input": f"{INSTRUCTION} plot of {name}", "profile": list(profile), **more}


def outputs(*golds: tuple[str, Any], task: str = "LaMP_2M") -> dict[str, Any]:
    return {"task": task, "golds": [{"id": name, "output": output} for name, output in golds]}


def write(folder: Path, questions: Any, answers: Any = None) -> Path:
    (folder / "dev_questions.json").write_text(json.dumps(questions), encoding="utf-8")
    if answers is not None:
        (folder / "dev_outputs.json").write_text(json.dumps(answers), encoding="utf-8")
    return folder


GOOD = [question("4a01", item("a"), item("b"), user_id="u"), question("4a02", item("a"), user_id="u")]
ANSWERS = outputs(("4a01", "comedy"), ("4a02", "sci-fi"))


def without(record: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != field}


def profile(*items: Any) -> list[dict[str, Any]]:
    return [GOOD[0], question("4a02") | {"profile": list(items)}]


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ({"id": "x"}, "dev_questions.json: the file holds an object, not a list of questions."),
        (
            [GOOD[0], 3],
            'dev_questions.json, record 2 is a number, not an object. Questions need "id", "input" and "profile".',
        ),
        (
            [without(GOOD[0], "id")],
            'dev_questions.json, record 1 has no "id". Questions need "id", "input" and "profile".',
        ),
        (
            [GOOD[0], without(GOOD[1], "input")],
            'dev_questions.json, record 2 (id "4a02") has no "input". Questions need',
        ),
        ([without(GOOD[0], "profile")], 'dev_questions.json, record 1 (id "4a01") has no "profile". Questions need'),
        ([GOOD[0] | {"profile": {}}], 'record 1 (id "4a01") has an object as "profile", not a list.'),
        ([GOOD[0] | {"input": ["x"]}], 'record 1 (id "4a01") has a list as "input". Write it as text.'),
        (
            profile(item("a"), item("b"), without(item("c"), "tag")),
            'dev_questions.json, record 2 (id "4a02"): profile item 3 has no "tag". '
            'LaMP_2M items need "id", "description" and "tag".',
        ),
        (profile(item("a"), "b"), 'record 2 (id "4a02"): profile item 2 is text, not an object. LaMP_2M items need'),
        (
            profile(item("a", True)),
            'record 2 (id "4a02"): profile item 1 has true or false as "tag". Write it as text.',
        ),
        (
            profile(item("a"), item("a", "sci-fi")),
            'record 2 (id "4a02"): profile item 2 has the id "a" of an earlier item. '
            "Ids must be unique within a profile.",
        ),
        (
            profile(item("a", ts="2021-13-01")),
            'record 2 (id "4a02"): profile item 1 has a "ts" that is no date. "2021-13-01" cannot be read: write',
        ),
        (
            [GOOD[0] | {"date": "yesterday"}],
            'record 1 (id "4a01") has a "date" that is no date. "yesterday" cannot be read: write a year',
        ),
        (
            profile(item("a", ts="999"), item("b", ts="1000")),
            'user "4a02" has the dates "999", which counts seconds from 1970, and "1000", which is of the calendar.',
        ),
        ([*GOOD, question("4a01")], 'record 3 (id "4a01") has the id of record 1. Ids must be unique within the file.'),
        (
            [GOOD[0], question("4a02", item("b", "sci-fi"), user_id="u")],
            'record 2 (id "4a02") has a profile item 1 (id "b") that differs from the item of this id in another '
            'question of user "u". Give different items different ids.',
        ),
        (
            [GOOD[0], GOOD[1] | {"input": "What tag? description: x"}],
            'record 2 (id "4a02") has an "input" that is not one of LaMP_2M: '
            'no list of answers "tags: [...]" is in the input',
        ),
        (
            [GOOD[0] | {"input": "no marker at all"}],
            'record 1 (id "4a01") has an "input" that is not one of LaMP_2M: "description:" is not in the input',
        ),
        (
            [GOOD[0], GOOD[1] | {"input": "tags: [sci-fi, comedy, drama] description: x"}],
            'record 2 (id "4a02") lists other answers than record 1 (the difference: drama, true story). '
            "All questions must list the same answers.",
        ),
    ],
)
def test_a_bad_questions_file_is_named_with_record_and_field(tmp_path, questions, message):
    write(tmp_path, questions)
    with pytest.raises(DataError) as caught:
        read_lamp(tmp_path, TAGS, "dev")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([], 'dev_outputs.json: the file is a list, not an object. It needs "task" and "golds".'),
        ({"task": "LaMP_2M"}, 'dev_outputs.json: the file has no "golds". It needs "task" and "golds".'),
        (outputs(task="LaMP_3"), 'the file is of task "LaMP_3", not "LaMP_2M". Choose the task that the files are of.'),
        (
            outputs(("4a01", "comedy")),
            'dev_questions.json, record 2 (id "4a02") has no answer in dev_outputs.json. '
            "Add it, or remove that file if no answers are known.",
        ),
        (
            outputs(("4a01", "comedy"), ("4a02", "comedy"), ("4a03", "comedy")),
            'dev_outputs.json, record 3 (id "4a03") answers no question. '
            "Questions and outputs must be of the same split.",
        ),
        (
            outputs(("4a01", "comedy"), ("4a01", "sci-fi")),
            'dev_outputs.json, record 2 (id "4a01") has the id of record 1. Ids must be unique within the file.',
        ),
        (
            outputs(("4a01", "comedy"), ("4a02", "dark comedy")),
            'dev_outputs.json, record 2 (id "4a02") has "dark comedy" as "output", which is not among the answers: '
            "sci-fi, comedy, true story.",
        ),
        (
            {"task": "LaMP_2M", "golds": [{"id": "4a01"}]},
            'record 1 (id "4a01") has no "output". Answers need "id" and "output".',
        ),
    ],
)
def test_a_bad_outputs_file_is_named_with_record_and_field(tmp_path, answers, message):
    write(tmp_path, GOOD, answers)
    with pytest.raises(DataError) as caught:
        read_lamp(tmp_path, TAGS, "dev")
    assert message in str(caught.value)


def test_the_good_files_behind_the_bad_ones_are_read(tmp_path):
    _, data = read_lamp(write(tmp_path, GOOD, ANSWERS), TAGS, "dev")
    assert data.golds == {"4a01": "comedy", "4a02": "sci-fi"}
    assert data.visible == {"4a02": frozenset({"a"})}


def test_a_rating_outside_the_scale_is_named(tmp_path):
    write(
        tmp_path,
        [{"id": "q", "input": "review: x", "profile": []}],
        {"task": "LaMP_3", "golds": [{"id": "q", "output": 6}]},
    )
    with pytest.raises(
        DataError, match=r'record 1 \(id "q"\) has "6" as "output", which is not among the answers: 1, 2'
    ):
        read_lamp(tmp_path, TASKS["LaMP_3"], "dev")


def rated(*scores: Any) -> list[dict[str, Any]]:
    items = [{"id": str(number), "text": f"text {number}", "score": score} for number, score in enumerate(scores)]
    return [{"id": "q", "input": "Rate it. review: good", "profile": items}]


@pytest.mark.parametrize("score", ["6", "great", 4.5, "0"])
def test_a_profile_item_with_an_answer_that_there_is_not_is_named(tmp_path, score):
    write(tmp_path, rated("4", score))
    with pytest.raises(DataError) as caught:
        read_lamp(tmp_path, TASKS["LaMP_3"], "dev")
    assert str(caught.value) == (
        f'dev_questions.json, record 1 (id "q"): profile item (id "1") has "{score}" as "score", which is not among '
        "the answers: 1, 2, 3, 4, 5."
    )
    _, data = read_lamp(tmp_path, TASKS["LaMP_3"], "dev", skip_bad=1)
    assert [item.output for item in data.users[0].history] == ["4"]
    assert data.left_out.counts == {'has a "score" that is not among the answers': 1}


@pytest.mark.parametrize("blank", ["", " ", "\u200b"])
def test_a_profile_item_with_a_blank_answer_costs_the_item(tmp_path, blank):
    mails = [{"id": "1", "text": "t", "title": blank}, {"id": "2", "text": "s", "title": "hi"}]
    write(tmp_path, [{"id": "q", "input": "Write a subject. email: hello", "profile": mails}])
    with pytest.raises(DataError, match=r'profile item \(id "1"\) has a blank "title"\.'):
        read_lamp(tmp_path, TASKS["LaMP_6"], "dev")
    _, data = read_lamp(tmp_path, TASKS["LaMP_6"], "dev", skip_bad=1)
    assert [item.output for item in data.users[0].history] == ["hi"]


def test_ids_in_messages_stay_on_their_line(tmp_path):
    write(tmp_path, [without(question("a\nb"), "input")])
    with pytest.raises(DataError) as caught:
        read_lamp(tmp_path, TAGS, "dev")
    assert str(caught.value).startswith(r'dev_questions.json, record 1 (id "a\nb") has no "input".')


def test_a_missing_questions_file_is_named_with_its_folder(tmp_path):
    with pytest.raises(DataError) as caught:
        read_lamp(tmp_path, TAGS, "test")
    assert f"{tmp_path / 'test_questions.json'}: no such file." in str(caught.value)


def test_bytes_that_are_not_utf8_are_located(tmp_path):
    (tmp_path / "dev_questions.json").write_bytes(b'[{"id": "caf\xe9"}]')
    with pytest.raises(DataError, match=r"^dev_questions\.json: byte 12 is not UTF-8\. Save the file as UTF-8\.$"):
        read_lamp(tmp_path, TAGS, "dev")


@pytest.mark.parametrize("name", ["dev_questions.json", "dev_outputs.json"])
def test_what_is_not_json_is_located(tmp_path, name):
    write(tmp_path, GOOD, ANSWERS)
    (tmp_path / name).write_text('[\n  {"id": }\n]', encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_lamp(tmp_path, TAGS, "dev")
    assert f"{name}: not JSON at line 2, column 10" in str(caught.value)
