"""Conversations: what is asked, what was said before, and what is said about records that cannot be read."""

from __future__ import annotations

import contextlib
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from defaults import read_chat, split_of
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_ray.data.dataset import Dataset
from hydra_ray.data.duplicates import folded
from hydra_ray.data.errors import DataError
from hydra_ray.records import Message

# Everybody is in split train.
EVERYBODY = split_of("train", queries_per_user=1, dev_share=1e-9, seed=0, tenant="acme")


def said(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def chat(user: str, last: str, *before: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = {} if {"output", "accepted", "edited"} & set(more) else {"output": f"on {last}"}
    return {"user_id": user, "messages": [*before, said("user", last)], **answer, **more}


def jsonl(path: Path, records: list[Any]) -> Path:
    path.write_text("\n".join(json.dumps(values) for values in records), encoding="utf-8")
    return path


def read(folder: Path, *records: Any) -> Dataset:
    return read_chat(jsonl(folder / "chats.jsonl", list(records)), EVERYBODY)


def test_the_last_message_is_asked_after_what_was_said_before(tmp_path):
    turns = [said("system", "Be kind."), said("user", "Hi"), said("assistant", "Hello")]
    data = read(tmp_path, chat("u", "The sea?", ts="2001"), chat("u", "And now?", *turns, id="c7", ts="2002"))
    (user,) = data.users
    (item,), (query,) = user.history, user.queries
    assert user.key == ("acme", "u")
    assert (item.id, item.input, item.output, item.ts) == ("u-0", "The sea?", "on The sea?", "2001")
    assert (query.id, query.input) == ("c7", "And now?")
    assert query.turns == tuple(Message(turn["role"], turn["content"]) for turn in turns)
    assert data.golds == {"c7": "on And now?"}


def test_a_conversation_in_the_history_is_its_last_message(tmp_path):
    data = read(tmp_path, chat("u", "Shorter", said("user", "Write"), said("assistant", "..."), id="a"), chat("u", "b"))
    (item,) = data.users[0].history
    assert (item.id, item.input, item.output) == ("a", "Shorter", "on Shorter")


def test_accepted_and_edited_answers_are_what_the_user_preferred(tmp_path):
    data = read(tmp_path, chat("u", "a", accepted="yes"), chat("u", "b", edited="yes!", output=None), chat("u", "c"))
    assert [item.output for item in data.users[0].history] == ["yes", "yes!"]


def test_undated_conversations_are_in_the_files_order_and_see_all_before(tmp_path):
    data = read(tmp_path, chat("u", "z"), chat("v", "y"), chat("u", "a"), chat("u", "m"))
    (user, _) = data.users
    assert [item.input for item in user.history] == ["z", "a"]
    assert user.queries[0].input == "m"
    assert data.visible == {}


def test_dated_conversations_are_ordered_and_do_not_see_their_own_date(tmp_path):
    data = read(tmp_path, chat("u", "b", ts="2002"), chat("u", "c", ts="2002"), chat("u", "a", ts="2001"))
    (user,) = data.users
    assert [item.input for item in data.history(user, user.queries[0])] == ["a"]


def test_people_are_split_as_those_of_records_are(tmp_path):
    path = jsonl(tmp_path / "c.jsonl", [chat(f"person {number}", "Hi") for number in range(50)])
    train, dev = (
        {user.key.user for user in read_chat(path, split_of(name, queries_per_user=1, dev_share=0.5)).users}
        for name in ("train", "dev")
    )
    assert len(train | dev) == 50
    assert not train & dev
    assert min(len(train), len(dev)) > 10


def test_a_gzipped_file_is_read(tmp_path):
    path = tmp_path / "c.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(chat("u", "Hi")).encode()))
    assert read_chat(path, EVERYBODY).users[0].history[0].input == "Hi"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match=r"^c\.jsonl\.gz: not a whole gzip file"):
        read_chat(path, EVERYBODY)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"messages": [said("user", "Hi")], "output": "x"}, 'chats.jsonl, line 2 has no "user_id". Records need'),
        ({"user_id": "u", "output": "x"}, 'line 2 has no "messages".'),
        (
            {"user_id": "u", "messages": [], "output": "x"},
            'line 2 has "messages" without a last one of the user with text. Records',
        ),
        (chat("u", "  "), 'line 2 has "messages" without a last one of the user with text.'),
        (
            {"user_id": "u", "messages": [said("user", "Hi"), said("assistant", "Ho")], "output": "x"},
            'line 2 has an "output" beside "messages" that end with another answer.',
        ),
        (chat("u", "Hi", output=None), "line 2 has none of the fields that hold the answer."),
        (
            chat("u", "Hi", output="x", edited="y"),
            'line 2 has "output" and "edited" of the fields that hold the answer. Records need',
        ),
        (
            chat("u", "Hi", said("critic", "42")),
            'line 2: message 1 has the role "critic". Roles are system, developer, user, assistant, tool, function.',
        ),
        (chat("u", "Hi", {"role": "user"}), 'line 2: message 1 has no "content". Messages need "role" and "content".'),
        (chat("u", "Hi", said("user", [1])), "line 2: message 1: part 1 is a number, not an object."),
        (chat("u", "Hi", "Hello"), "line 2: message 1 is text, not an object."),
        (
            chat("v", "Hi", id="first"),
            'line 2 has the id "first" of chats.jsonl, line 1. Ids must be unique within the file.',
        ),
        (chat("u", "Hi", ts="2001"), 'line 2 has a "ts", unlike earlier ones of user "u". Date all conversations'),
        (chat("u", "Hi", id="x", ts="3/9/2021"), 'line 2 has a "ts" that is no date. "3/9/2021" cannot be read: write'),
        (chat("w", "Hi", id="first-0"), None),
    ],
)
def test_a_bad_record_is_named_with_line_and_field(tmp_path, bad, message):
    records = [chat("u", "Hello", id="first"), bad]
    if message is None:
        assert len(read(tmp_path, *records).users) == 2
        return
    with pytest.raises(DataError) as caught:
        read(tmp_path, *records)
    assert message in str(caught.value)


def test_an_id_that_was_made_for_another_record_is_refused(tmp_path):
    with pytest.raises(DataError, match=r'chats\.jsonl: two records have the id "u-0"\. Give ids'):
        read(tmp_path, chat("u", "Hello"), chat("v", "Hi", id="u-0"))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(
        DataError, match=r"gone\.jsonl: no such file\. Point data\.path at a file, a folder of files or a glob\.$"
    ):
        read_chat(tmp_path / "gone.jsonl", EVERYBODY)


texts = st.text(min_size=1).filter(lambda text: text.strip())
turns = st.lists(st.builds(said, st.sampled_from(["system", "user", "assistant"]), st.text()), max_size=4)


@settings(max_examples=50)
@given(
    records=st.lists(
        st.builds(lambda user, last, before: chat(user, last, *before), st.sampled_from("ab"), texts, turns),
        min_size=1,
        # The same again would be one.
        unique_by=lambda record: (record["user_id"], folded(record["messages"][-1]["content"])),
    )
)
def test_every_conversation_is_read_back_whole_and_in_order(tmp_path_factory, records):
    data = read(tmp_path_factory.mktemp("any"), *records)
    for user in data.users:
        own = [record for record in records if record["user_id"] == user.key.user]
        read_back = [(item.input, item.output) for item in user.history]
        read_back += [(query.input, data.golds[query.id]) for query in user.queries]
        assert read_back == [(record["messages"][-1]["content"], record["output"]) for record in own]
        for query, record in zip(user.queries, own[len(user.history) :], strict=True):
            assert [said(turn.role, turn.content) for turn in query.turns] == record["messages"][:-1]
    assert sum(len(user.history) + len(user.queries) for user in data.users) == len(records)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content"]), inner),
    max_leaves=6,
)
fields = st.sampled_from(["user_id", "messages", "output", "accepted", "edited", "id", "ts"])
lines = st.binary(max_size=40) | st.dictionaries(fields, anything).map(lambda values: json.dumps(values).encode())


@given(line=lines, whole=st.dictionaries(fields, anything))
def test_whatever_a_line_holds_only_data_errors_come_of_it(tmp_path_factory, line, whole):
    path = tmp_path_factory.mktemp("any") / "c.jsonl"
    path.write_bytes(line + b"\n" + json.dumps(chat("u", "Hi") | whole).encode())
    with contextlib.suppress(DataError):
        assert len(read_chat(path, EVERYBODY).users) <= 2


def test_what_cannot_be_stored_or_read_is_named(tmp_path):
    with pytest.raises(DataError, match=r'line 1 has half a surrogate pair in "user_id"\. Take it out\.$'):
        read(tmp_path, chat("\ud83d", "Hi"))
    path = tmp_path / "c.jsonl"
    for text in ("9" * 5000, '{"messages": ' + "[" * 100_000):
        path.write_text(text)
        with pytest.raises(DataError, match=r"^c\.jsonl, line 1: cannot be read "):
            read_chat(path, EVERYBODY)
    path.write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"^c\.jsonl: cannot be read "):
        read_chat(path, EVERYBODY)
