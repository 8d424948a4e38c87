"""LaMP files: the users, histories, queries and answers that are read from them."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hydra_ray.data.duplicates import folded
from hydra_ray.data.lamp import read_lamp
from hydra_ray.records import HistoryItem, UserKey, as_user_id, is_blank
from hydra_ray.tasks import TASKS, TEXT_TASK

TAGS = TASKS["LaMP_2M"]
INSTRUCTION = "Which tag fits? tags: [sci-fi, comedy, true story] description:"
REAL = Path(__file__).parents[3].parent / "shared" / "data" / "lamp-real"


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


def test_a_question_without_user_is_its_own_user(tmp_path):
    write(
        tmp_path,
        [question("q1", item("a")), question("q2", item("a", "sci-fi"))],
        outputs(("q1", "comedy"), ("q2", "sci-fi")),
    )
    task, data = read_lamp(tmp_path, TAGS, "dev", tenant="acme")
    assert [user.key for user in data.users] == [UserKey("acme", "q1"), UserKey("acme", "q2")]
    assert [user.history[0].output for user in data.users] == ["comedy", "sci-fi"]
    assert data.golds == {"q1": "comedy", "q2": "sci-fi"}
    assert data.users[0].queries[0].input == "plot of q1"
    assert task == replace(
        TAGS, instruction=INSTRUCTION.removesuffix(" description:"), labels=("sci-fi", "comedy", "true story")
    )


def test_questions_of_a_user_share_a_history_and_see_their_own_profiles(tmp_path):
    early, late, middle = item("a", ts="2001"), item("b", ts="2003"), item("c", date="2002", item_id="f7")
    write(
        tmp_path,
        [
            question("q1", late, early, user_id="u", ts="2004", item_id="f9"),
            question("q2", early, late, middle, user_id="u"),
            question("q3", user_id="u"),
        ],
    )
    _, data = read_lamp(tmp_path, TAGS, "dev")
    (user,) = data.users
    assert user.history == (
        HistoryItem("a", "film a", "comedy", ts="2001"),
        HistoryItem("c", "film c", "comedy", ts="2002", item_id="f7"),
        HistoryItem("b", "film b", "comedy", ts="2003"),
    )
    assert data.visible == {"q1": frozenset({"a", "b"}), "q3": frozenset()}
    assert [item.id for item in data.history(user, user.queries[1])] == ["a", "c", "b"]
    assert (user.queries[0].ts, user.queries[0].item_id) == ("2004", "f9")
    assert data.golds == {}


def test_unpadded_dates_are_before_what_is_later_and_a_year_is_not_before_its_days(tmp_path):
    profile = [item(ts, ts=ts) for ts in ("2021-10-01", "2021-3-10", "2021-3-9", "2021-03-08", "2021")]
    write(tmp_path, [question("q", *profile, date="2021-03-09")])
    _, data = read_lamp(tmp_path, TAGS, "dev")
    (user,) = data.users
    assert [one.id for one in user.history] == ["2021", "2021-03-08", "2021-3-9", "2021-3-10", "2021-10-01"]
    assert [one.id for one in data.history(user, user.queries[0])] == ["2021-03-08", "2021-3-9"]


def test_items_without_dates_keep_their_places(tmp_path):
    profile = [item("a", ts="2003"), item("b"), item("c", ts="2001"), item("d", ts="")]
    write(tmp_path, [question("q", *profile)])
    _, data = read_lamp(tmp_path, TAGS, "dev")
    assert [one.id for one in data.users[0].history] == ["c", "b", "a", "d"]


def test_items_without_dates_keep_the_files_order(tmp_path):
    write(tmp_path, [question("q", item("c"), item("a"), item("b"))])
    _, data = read_lamp(tmp_path, TAGS, "dev")
    assert [item.id for item in data.users[0].history] == ["c", "a", "b"]


def test_numbers_are_read_as_text_and_context_is_kept(tmp_path):
    rating = {
        "id": 7,
        "input": "Rate this review: nice",
        "profile": [{"id": 1, "text": "fine", "score": 3}, {"id": 2, "text": "meh", "score": 2.0}],
    }
    write(tmp_path, [rating], {"task": "LaMP_3", "golds": [{"id": 7, "output": 5}]})
    _, data = read_lamp(tmp_path, TASKS["LaMP_3"], "dev")
    assert [item.output for item in data.users[0].history] == ["3", "2"]
    assert data.golds == {"7": "5"}

    news = {
        "id": "n",
        "input": "categories: [tech] article: x",
        "profile": [{"id": "1", "text": "t", "title": "T", "category": "tech"}],
    }
    write(tmp_path, [news]).joinpath("dev_outputs.json").unlink()
    _, data = read_lamp(tmp_path, TASKS["LaMP_2N"], "dev")
    assert data.users[0].history[0].context == "T"


def test_a_folder_named_after_the_task_is_used(tmp_path):
    (tmp_path / "LaMP_2M").mkdir()
    write(tmp_path / "LaMP_2M", [question("q")])
    _, data = read_lamp(tmp_path, TAGS, "dev")
    assert [user.key.user for user in data.users] == ["q"]


def test_later_questions_may_order_the_labels_and_word_the_instruction_differently(tmp_path):
    other = question("q2") | {"input": "Pick one. tags: [comedy, true story, sci-fi] description: other plot"}
    write(tmp_path, [question("q1"), other])
    task, data = read_lamp(tmp_path, TAGS, "dev")
    assert task.labels == ("sci-fi", "comedy", "true story")
    assert data.users[1].queries[0].input == "other plot"


def test_a_task_without_marker_keeps_the_whole_input(tmp_path):
    write(tmp_path, [{"id": "q", "input": "Hello there", "profile": [{"id": "1", "input": "a", "output": "b"}]}])
    task, data = read_lamp(tmp_path, TEXT_TASK, "dev")
    assert task == TEXT_TASK
    assert data.users[0].queries[0].input == "Hello there"


words = st.text(min_size=1, max_size=8)
# Ids are known without the blanks around them, are seen, and hold no zero bytes.
ids = words.filter(lambda text: "\0" not in text and not is_blank(text) and as_user_id(text) == text)
dates = st.none() | st.dates().map(str)
pools = st.lists(
    st.fixed_dictionaries({"description": words, "tag": st.sampled_from(["sci-fi", "comedy"]), "ts": dates}),
    max_size=5,
    # The same again would be one.
    unique_by=lambda row: folded(row["description"]),
)


@st.composite
def lamp_files(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Users with a pool of items each, and questions that see a part of it."""
    questions, golds = [], {}
    for user in draw(st.lists(ids, unique=True, min_size=1, max_size=4)):
        pool = [{"id": str(number), **values} for number, values in enumerate(draw(pools))]
        for _ in range(draw(st.integers(1, 3))):
            name = f"q{len(questions)}"
            seen = [entry for entry in pool if draw(st.booleans())]
            text = draw(words.map(str.strip))
            questions.append({"id": name, "user_id": user, "input": f"{INSTRUCTION} {text}", "profile": seen})
            golds[name] = draw(st.sampled_from(["sci-fi", "comedy", "true story"]))
    return questions, golds


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=lamp_files())
def test_every_well_formed_file_is_read_back_whole(tmp_path, files):
    questions, golds = files
    write(tmp_path, copy.deepcopy(questions), outputs(*golds.items()))
    _, data = read_lamp(tmp_path, TAGS, "dev")
    read = {query.id: (user, query) for user in data.users for query in user.queries}
    assert sorted(read) == sorted(golds)
    assert data.golds == golds
    assert len(data.users) == len({record["user_id"] for record in questions})
    for record in questions:
        user, query = read[record["id"]]
        assert user.key == query.user == UserKey("default", record["user_id"])
        assert query.input == record["input"].removeprefix(INSTRUCTION).strip()
        seen = {folded(item.input): (item.output, item.ts) for item in data.history(user, query)}
        gold = folded(query.input), golds[query.id]
        told = [(folded(row["description"]), row["tag"], row["ts"]) for row in record["profile"]]
        assert seen == {text: (tag, ts) for text, tag, ts in told if (text, tag) != gold}
    for user in data.users:
        stamps = [item.ts for item in user.history if item.ts]
        assert stamps == sorted(stamps)


@pytest.mark.skipif(not REAL.is_dir(), reason="lamp-real is not beside this checkout")
@pytest.mark.parametrize(
    ("name", "split", "users", "queries"),
    [
        ("LaMP_2N", "train", 51, 428),
        ("LaMP_2N", "dev", 25, 226),
        ("LaMP_2M", "train", 65, 241),
        ("LaMP_2M", "dev", 32, 99),
        ("LaMP_3", "train", 151, 440),
        ("LaMP_3", "dev", 78, 220),
        ("LaMP_4", "dev", 25, 226),
        ("LaMP_5", "dev", 136, 272),
    ],
)
def test_the_real_data_has_the_people_its_readme_counts(name, split, users, queries):
    task, data = read_lamp(REAL, TASKS[name], split)
    asked = [query for user in data.users for query in user.queries]
    assert (len(data.users), len(asked)) == (users, queries)
    assert set(data.golds) == {query.id for query in asked}
    assert not any(task.instruction in query.input or task.marker in query.input[:20] for query in asked)
    assert all(
        item.ts is not None and item.ts <= (query.ts or "")
        for user in data.users
        for query in user.queries
        for item in user.history
    )
