"""Which records are one told twice, and which are habits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from defaults import read_chat, read_lamp, read_records, read_reviews, split_of
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.data.dataset import Dataset
from hydra_ray.data.duplicates import AGAIN, LATER, SEEN, Repeats
from hydra_ray.data.reviews import ReviewFilters
from hydra_ray.data.split import Record
from hydra_ray.records import Message
from hydra_ray.tasks import TASKS, TEXT_TASK

SPLIT = split_of("train", queries_per_user=2, dev_share=1e-9, seed=0)
LONG = "Thank you, I shall send it to you by noon."


def jsonl(path: Path, records: list[Any]) -> Path:
    path.write_text("\n".join(json.dumps(values) for values in records), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("first", "second", "texts", "reason"),
    [
        (Record("a", "b", "2021-03-09"), Record("a", "b", "2021-3-9"), True, AGAIN),
        (Record("a", "b", "1000000000"), Record(" a", "b\n", "2001-09-09T01:46:40Z"), True, AGAIN),
        (Record("cafe\u0301", "b"), Record("caf\u00e9", "b"), True, AGAIN),
        (Record("a", "b"), Record("a", "b"), True, AGAIN),
        (Record("a", "b", turns=(Message("user", "x"),)), Record("a", "b"), True, None),
        (Record("a", "b", "2021"), Record("a", "b", "2022"), True, None),
        (Record("a", "b", "2021"), Record("a", "b", "2021-01"), True, None),
        (Record("a", "b", "2021"), Record("a", "B", "2021"), True, None),
        (Record("a", "b", "2021", "film"), Record("a", "b", "2021", "other film"), True, None),
        # A long text is not written twice to the same input; it is to another.
        (Record("a", LONG, "2021"), Record("a", LONG, "2022"), True, LATER),
        (Record("a", LONG, "2021"), Record("c", LONG, "2022"), True, None),
        (Record("a", LONG, "2021"), Record("a", LONG, "2022"), False, None),
        # About the same thing nobody says the same again.
        (Record("a", "b", "2021", "film"), Record("a", "b", "2022", "film"), True, LATER),
        (Record("a", "b", "2021", "film"), Record("c", "b", "2022", "film"), True, LATER),
        (Record("a", "b", "2021", "film"), Record("c", "d", "2022", "film"), True, None),
        (Record("a", "b", "2021", "film"), Record("a", "b", "2022", "film"), False, LATER),
        (Record("a", "b", "2021", "film"), Record("c", "b", "2022", "film"), False, None),
    ],
)
def test_what_is_one_record(first, second, texts, reason):
    repeats = Repeats[Record](texts)
    assert repeats.earlier(first, first.turns) is None
    assert repeats.earlier(second, second.turns) == (reason and (first, reason))


records = st.builds(
    Record,
    st.sampled_from(["a", "c"]),
    st.sampled_from(["b", LONG]),
    st.sampled_from([None, "2021", "2021-1-1", "2021-01-01", "2022"]),
    st.sampled_from([None, "film"]),
)


@given(st.lists(records), st.booleans())
def test_what_is_left_repeats_nothing(told, texts):
    repeats = Repeats[Record](texts)
    kept = [record for record in told if repeats.earlier(record) is None]
    again = Repeats[Record](texts)
    assert [record for record in kept if again.earlier(record) is not None] == []
    assert set(kept) <= set(told)


def test_a_line_of_records_told_twice_is_one(tmp_path):
    lines = [{"user_id": "u", "input": f"in {n}", "output": f"out {n}", "ts": f"2021-01-0{n}"} for n in (1, 2, 3, 4)]
    data = read_records(jsonl(tmp_path / "r.jsonl", [*lines, lines[1], lines[3]]), TEXT_TASK, SPLIT)
    (user,) = data.users
    assert [item.input for item in user.history] == ["in 1", "in 2"]
    assert [query.input for query in user.queries] == ["in 3", "in 4"]
    assert data.left_out.examples == {AGAIN: ["r.jsonl, line 5", "r.jsonl, line 6"]}


def test_a_short_answer_to_the_same_input_on_another_day_is_a_habit(tmp_path):
    lines = [{"user_id": "u", "input": "can we meet", "output": "sure", "ts": f"2021-01-0{n}"} for n in (1, 2, 3, 4)]
    data = read_records(jsonl(tmp_path / "r.jsonl", lines), TEXT_TASK, SPLIT)
    (user,) = data.users
    assert [len(data.history(user, query)) for query in user.queries] == [2, 2]
    assert not data.left_out.counts


def review(item: str, day: int, text: str, **more: Any) -> dict[str, Any]:
    stamp = 1_600_000_000_000 + day * 86_400_000
    return {"user_id": "u", "parent_asin": item, "title": "Good", "text": text, "rating": 5, "timestamp": stamp, **more}


def read_all(folder: Path, reviews: list[Any], least: int = 1) -> Dataset:
    items = [{"parent_asin": item, "title": f"Film {item}", "description": "About a film."} for item in "abcd"]
    filters = ReviewFilters(1, 1, 1000, 1, least, 1000)
    return read_reviews(jsonl(folder / "r.jsonl", reviews), jsonl(folder / "m.jsonl", items), SPLIT, filters)


def test_an_item_reviewed_again_in_the_same_words_is_reviewed_once(tmp_path):
    reviews = [review(item, day, f"I like {item}.") for day, item in enumerate("abcd")]
    reviews += [review("b", 900, "I like b."), review("c", 900, "I like  c.", title="Very good", rating=4)]
    data = read_all(tmp_path, reviews)
    (user,) = data.users
    assert [item.item_id for item in user.history] == ["a", "b"]
    assert [query.item_id for query in user.queries] == ["c", "d"]
    assert data.left_out.examples == {LATER: ["r.jsonl, line 5", "r.jsonl, line 6"]}


def test_an_item_reviewed_again_in_other_words_is_reviewed_twice(tmp_path):
    data = read_all(tmp_path, [review("a", 1, "Fine."), review("a", 2, "It broke."), review("b", 3, "Fine.")])
    assert len(data.users[0].history) + len(data.users[0].queries) == 3


def test_who_says_the_same_again_passes_no_filter_by_it(tmp_path):
    reviews = [review("a", 1, "Fine."), review("a", 2, "Fine."), review("b", 3, "Good.")]
    reviews += [review(item, day, "Fine.", user_id="v") for day, item in enumerate("abc")]
    assert [user.key.user for user in read_all(tmp_path, reviews, least=3).users] == ["v"]


def conversation(last: str, **more: Any) -> dict[str, Any]:
    return {"user_id": "u", "messages": [{"role": "user", "content": last}], "output": f"on {last}", **more}


def test_a_conversation_told_twice_is_one(tmp_path):
    told = [
        conversation("a", id="1"),
        conversation("b"),
        conversation("a", id="1"),
        conversation("b"),
        conversation("c"),
    ]
    data = read_chat(jsonl(tmp_path / "c.jsonl", told), SPLIT)
    (user,) = data.users
    assert [part.input for part in (*user.history, *user.queries)] == ["a", "b", "c"]
    assert data.left_out.examples == {AGAIN: ["c.jsonl, line 3", "c.jsonl, line 4"]}


def write(folder: Path, questions: list[Any], golds: dict[str, str], task: str) -> Path:
    answers = {"task": task, "golds": [{"id": name, "output": output} for name, output in golds.items()]}
    (folder / "dev_questions.json").write_text(json.dumps(questions))
    (folder / "dev_outputs.json").write_text(json.dumps(answers))
    return folder


def mail(name: str, text: str, subject: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "text": text, "title": subject, **more}


def subject_of(name: str, text: str, *profile: dict[str, Any], **more: Any) -> dict[str, Any]:
    asked = f"Generate a subject for the following email: {text}"
    return {"id": name, "user_id": "u", "input": asked, "profile": list(profile), **more}


def test_a_questions_own_answer_is_hidden_from_it_alone(tmp_path):
    items = [mail("1", "See you at two.", "lunch"), mail("2", "See you at  three.", "tea"), mail("3", "Hello", "tea")]
    questions = [subject_of("q", "See you at three.", *items), subject_of("r", "See you at four.", *items)]
    _, data = read_lamp(write(tmp_path, questions, {"q": "tea", "r": "tea"}, "LaMP_6"), TASKS["LaMP_6"], "dev")
    (user,) = data.users
    assert [item.id for item in data.history(user, user.queries[0])] == ["1", "3"]
    assert [item.id for item in data.history(user, user.queries[1])] == ["1", "2", "3"]
    assert data.left_out.examples == {SEEN: ['dev_questions.json, record 1 (id "q"): profile item (id "2")']}


def test_an_answer_that_stands_in_a_profile_of_texts_is_hidden(tmp_path):
    question = {
        "id": "q",
        "input": "Paraphrase the following tweet without any explanation before or after it: warm out there",
        "profile": [{"id": "1", "text": "so warm outside"}, {"id": "2", "text": "rain again"}],
    }
    _, data = read_lamp(write(tmp_path, [question], {"q": "so warm outside"}, "LaMP_7"), TASKS["LaMP_7"], "dev")
    assert data.visible == {"q": frozenset({"2"})}


def test_items_told_twice_stand_for_each_other(tmp_path):
    first, again = mail("1", "Hello", "hi", date="2021-03-09"), mail("9", "Hello", "hi", date="2021-3-9")
    questions = [subject_of("q", "a", first, first), subject_of("r", "b", again), subject_of("q", "a", first, first)]
    _, data = read_lamp(write(tmp_path, questions, {"q": "x", "r": "y"}, "LaMP_6"), TASKS["LaMP_6"], "dev")
    (user,) = data.users
    assert [item.id for item in user.history] == ["1"]
    assert [[item.id for item in data.history(user, query)] for query in user.queries] == [["1"], ["1"]]
    assert data.left_out.counts == {AGAIN: 3}
