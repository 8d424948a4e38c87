"""LaMP's two layouts, user-based and time-based, for each of its tasks, as its files have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from defaults import read_lamp

from hydra_ray.data.errors import DataError
from hydra_ray.tasks import TASKS

CITATION = (
    'For an author who has written the paper with the title "On cats", which reference is related? Just answer with '
    '[1] or [2] without explanation. [1]: "Gaits" [2]: "Dogs"'
)
# Input, profile item, gold; then the item's input, output and context as they are read.
TASK_FILES = {
    "LaMP_1": (CITATION, {"title": "T", "abstract": "A"}, "[2]", ("A", "T", "T")),
    "LaMP_2N": (
        "Which? categories: [tech, food] article: x",
        {"text": "X", "title": "T", "category": "food"},
        "tech",
        ("X", "food", "T"),
    ),
    "LaMP_2M": (
        "Which? tags: [sci-fi] description: x",
        {"description": "D", "tag": "sci-fi"},
        "sci-fi",
        ("D", "sci-fi", ""),
    ),
    "LaMP_3": ("What is the score? review: x", {"text": "X", "score": "4"}, "5", ("X", "4", "")),
    "LaMP_4": ("Generate a headline for the following article: x", {"text": "X", "title": "T"}, "t", ("X", "T", "T")),
    "LaMP_5": (
        "Generate a title for the following abstract of a paper: x",
        {"title": "T", "abstract": "A"},
        "t",
        ("A", "T", "T"),
    ),
    "LaMP_6": ("Generate a subject for the following email: x", {"text": "X", "title": "T"}, "t", ("X", "T", "")),
    "LaMP_7": (
        "Paraphrase the following tweet without any explanation before or after it: x",
        {"text": "X"},
        "x!",
        ("X", "X", ""),
    ),
}


def write(folder: Path, questions: list[dict[str, Any]], golds: dict[Any, str], task: str) -> Path:
    (folder / "dev_questions.json").write_text(json.dumps(questions), encoding="utf-8")
    answers = {"task": task, "golds": [{"id": name, "output": output} for name, output in golds.items()]}
    (folder / "dev_outputs.json").write_text(json.dumps(answers), encoding="utf-8")
    return folder


def movie(name: Any, **more: Any) -> dict[str, Any]:
    return {"id": name, "description": f"film {name}", "tag": "sci-fi", **more}


def asked(name: Any, *profile: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": name, "input": "Which? tags: [sci-fi] description: x", "profile": list(profile), **more}


@pytest.mark.parametrize("name", TASK_FILES)
def test_the_user_based_layout_has_neither_users_nor_dates(tmp_path, name):
    text, fields, gold, expected = TASK_FILES[name]
    own_name = "LaMP_2" if name.startswith("LaMP_2") else name
    write(tmp_path, [{"id": "110", "input": text, "profile": [{**fields, "id": "1100"}]}], {"110": gold}, own_name)
    task, data = read_lamp(tmp_path, TASKS[name], "dev")
    (user,) = data.users
    (item,), (query,) = user.history, user.queries
    assert (user.key.user, item.id, item.ts, query.ts) == ("110", "1100", None, None)
    assert (item.input, item.output, item.context) == expected
    assert task.question(query.input) == text
    assert data.golds == {"110": gold}
    assert data.visible == {}


@pytest.mark.parametrize("name", TASK_FILES)
def test_the_time_based_layout_has_users_and_dated_items(tmp_path, name):
    text, fields, gold, _ = TASK_FILES[name]
    profile = [{**fields, "id": 2, "date": "2012-03-01"}, {**fields, "id": 1, "date": "2011-01-31"}]
    write(tmp_path, [{"id": 7, "user_id": 31, "input": text, "profile": profile}], {7: gold}, name)
    _, data = read_lamp(tmp_path, TASKS[name], "dev")
    (user,) = data.users
    assert user.key.user == "31"
    assert [(item.id, item.ts) for item in user.history] == [("1", "2011-01-31"), ("2", "2012-03-01")]
    # The question is not dated: its profile is what was there before it.
    assert data.visible == {}
    assert data.golds == {"7": gold}


def test_a_dated_question_sees_no_later_item(tmp_path):
    items = [movie("old", date="2001"), movie("same", date=2004), movie("later", ts="2005-01-01"), movie("undated")]
    write(
        tmp_path,
        [asked("q", *items, user_id="u", date=2004), asked("r", *items, user_id="u")],
        dict.fromkeys("qr", "sci-fi"),
        "LaMP_2M",
    )
    _, data = read_lamp(tmp_path, TASKS["LaMP_2M"], "dev")
    (user,) = data.users
    first, second = user.queries
    assert {item.id for item in data.history(user, first)} == {"old", "same", "undated"}
    assert {item.id for item in data.history(user, second)} == {"old", "same", "later", "undated"}


def test_a_lone_question_is_kept_from_its_future_too(tmp_path):
    write(
        tmp_path, [asked("q", movie("a", date="2001"), movie("b", date="2003"), date="2002")], {"q": "sci-fi"}, "LaMP_2"
    )
    _, data = read_lamp(tmp_path, TASKS["LaMP_2M"], "dev")
    assert data.visible == {"q": frozenset({"a"})}


def test_a_folder_of_lamps_own_name_is_used(tmp_path):
    (tmp_path / "LaMP_2").mkdir()
    write(tmp_path / "LaMP_2", [asked("q")], {"q": "sci-fi"}, "LaMP_2")
    assert read_lamp(tmp_path, TASKS["LaMP_2M"], "dev")[1].golds == {"q": "sci-fi"}


def test_files_of_another_task_are_refused(tmp_path):
    write(tmp_path, [asked("q")], {"q": "sci-fi"}, "LaMP_2N")
    with pytest.raises(DataError, match='the file is of task "LaMP_2N", not "LaMP_2M"'):
        read_lamp(tmp_path, TASKS["LaMP_2M"], "dev")


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("LaMP_1", 'LaMP_1 items need "id", "abstract" and "title".'),
        ("LaMP_7", 'LaMP_7 items need "id" and "text".'),
    ],
)
def test_what_an_item_lacks_is_named_once(tmp_path, name, needs):
    text, _, gold, _ = TASK_FILES[name]
    write(tmp_path, [{"id": "q", "input": text, "profile": [{"id": "1"}]}], {"q": gold}, name)
    with pytest.raises(DataError) as caught:
        read_lamp(tmp_path, TASKS[name], "dev")
    assert str(caught.value).endswith(needs)


def test_a_citation_answer_that_is_no_number_is_named(tmp_path):
    write(tmp_path, [{"id": "q", "input": CITATION, "profile": []}], {"q": "Dogs"}, "LaMP_1")
    with pytest.raises(DataError, match=r'has "Dogs" as "output", which is not among the answers: \[1\], \[2\]'):
        read_lamp(tmp_path, TASKS["LaMP_1"], "dev")
