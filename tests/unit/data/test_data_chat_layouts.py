"""Conversations as people keep them: tools, parts, final answers, files for fine-tuning and preferences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from defaults import read_chat, split_of

from hydra_ray.data.conversation import Conversation, conversation
from hydra_ray.data.dataset import LeftOut
from hydra_ray.data.errors import DataError
from hydra_ray.data.fields import Fields

EVERYBODY = split_of("train", queries_per_user=1, dev_share=1e-9, seed=0)


def said(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


HI, ASK = said("user", "hi"), said("user", "what time?")
CALL = said("assistant", None, tool_calls=[{"id": "c1", "type": "function", "function": {"name": "f"}}])
OLD_CALL = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
TOOL = said("tool", "9:41", tool_call_id="c1")
PICTURE = {"type": "image_url", "image_url": {"url": "data:"}}
TOOLS_LEFT_OUT = "calls of tools not told"
DRAFT_LEFT_OUT = "text of the assistant before the answer not told"


def read(**record: Any) -> tuple[Conversation, dict[str, int]]:
    left_out = LeftOut()
    found = conversation(Fields({"user_id": "u", **record}, "c.jsonl, line 1"), left_out)
    return found, dict(left_out.counts)


def turns(found: Conversation) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in found.turns]


@pytest.mark.parametrize("call", [CALL, OLD_CALL, {"role": "assistant", "tool_calls": [{}]}])
@pytest.mark.parametrize("tool", [TOOL, said("function", "9:41", name="f"), said("tool", [{"type": "text"}])])
def test_calls_of_tools_are_left_out_of_what_is_told(call, tool):
    found, counts = read(messages=[HI, call, tool, said("assistant", "9:41"), ASK], output="late")
    assert turns(found) == [("user", "hi"), ("assistant", "9:41")]
    assert (found.last, found.answer) == ("what time?", "late")
    assert counts == {TOOLS_LEFT_OUT: 1}


def test_what_was_said_beside_a_call_is_told():
    found, _ = read(messages=[HI, CALL | {"content": "Let me see."}, TOOL, said("assistant", "9:41"), ASK], output="x")
    assert turns(found) == [("user", "hi"), ("assistant", "Let me see."), ("assistant", "9:41")]


def test_a_final_turn_of_the_assistant_is_the_answer():
    found, counts = read(messages=[said("system", "Be kind."), HI, said("assistant", "hello")])
    assert (turns(found), found.last, found.answer) == ([("system", "Be kind.")], "hi", "hello")
    assert counts == {}
    assert read(messages=[HI, said("assistant", "hello")], output=None)[0].answer == "hello"


def test_an_answer_after_tools_is_that_to_the_last_question():
    found, counts = read(messages=[ASK, CALL | {"content": "Let me see."}, TOOL, said("assistant", "9:41")])
    assert (turns(found), found.last, found.answer) == ([], "what time?", "9:41")
    assert counts == {TOOLS_LEFT_OUT: 1, DRAFT_LEFT_OUT: 1}
    found, counts = read(messages=[ASK, CALL, TOOL], output="9:41")
    assert (found.last, found.answer, counts) == ("what time?", "9:41", {TOOLS_LEFT_OUT: 1})


def test_a_draft_that_was_edited_or_accepted_is_no_turn():
    found, counts = read(messages=[HI, said("assistant", "yo")], edited="hello")
    assert (turns(found), found.last, found.answer, counts) == ([], "hi", "hello", {DRAFT_LEFT_OUT: 1})
    found, counts = read(messages=[HI, said("assistant", "hello")], accepted="hello")
    assert (found.answer, counts) == ("hello", {})


def test_text_parts_are_joined_and_others_left_out():
    parts = [{"type": "text", "text": "what "}, PICTURE, {"type": "input_text", "text": "is this?"}]
    found, counts = read(
        messages=[said("user", [PICTURE]), said("assistant", "a cat"), said("user", parts)], output="x"
    )
    assert (turns(found), found.last) == ([("assistant", "a cat")], "what is this?")
    assert counts == {'parts "image_url" of messages not told': 1}


@pytest.mark.parametrize(
    "output",
    [
        "hello",
        said("assistant", "hello"),
        [said("assistant", "hello")],
        [said("assistant", [{"type": "output_text", "text": "hello"}])],
        [CALL, TOOL, said("assistant", "hello")],
    ],
)
def test_an_output_may_be_text_or_messages(output):
    assert read(messages=[HI], output=output)[0].answer == "hello"


def test_an_answer_in_json_stays_text():
    assert read(messages=[HI], output='[{"role": "x"}]')[0].answer == '[{"role": "x"}]'


@pytest.mark.parametrize(
    "record",
    [
        {"input": {"messages": [said("system", "s"), HI], "tools": []}, "preferred_output": [said("assistant", "yes")]},
        {"prompt": [said("system", "s"), HI], "chosen": [said("assistant", "yes")]},
        {"chosen": [said("system", "s"), HI, said("assistant", "yes")]},
        {"messages": [said("system", "s"), HI, said("assistant", "yes")]},
    ],
)
def test_layouts_of_preferences_say_the_same(record):
    bad = [said("assistant", "no")]
    found, counts = read(**record, non_preferred_output=bad, rejected=bad)
    assert (turns(found), found.last, found.answer, counts) == ([("system", "s")], "hi", "yes", {})
    assert found.rejected == "no"
    for name in ("rejected", "non_preferred_output"):
        assert read(**record, **{name: bad})[0].rejected == "no"
    assert read(**record)[0].rejected is None


def test_preferences_may_be_plain_texts():
    found, _ = read(prompt="hi", chosen="yes", rejected="no")
    assert (found.turns, found.last, found.answer, found.rejected) == ((), "hi", "yes", "no")
    found, _ = read(prompt="hi", chosen=[HI, said("assistant", "yes")], rejected=[HI, said("assistant", "no")])
    assert (found.last, found.answer, found.rejected) == ("hi", "yes", "no")


@pytest.mark.parametrize("rejected", ["", " ", [], [CALL], [HI], {"role": "assistant"}])
def test_a_rejected_answer_that_cannot_be_read_is_no_fault_of_the_record(rejected):
    found, counts = read(prompt="hi", chosen="yes", rejected=rejected)
    assert (found.answer, found.rejected) == ("yes", None)
    assert counts == {"rejected answer without text not used": 1}


def test_a_rejected_answer_that_is_the_preferred_one_tells_nothing():
    found, counts = read(prompt="hi", chosen="yes", rejected=[said("assistant", "yes ")])
    assert found.rejected is None
    assert counts == {"rejected answer that is the preferred one not used": 1}


def test_rejected_answers_are_of_history_items_and_of_queries(tmp_path):
    rows = [{"user_id": "u", "id": f"c{n}", "prompt": f"q{n}", "chosen": f"a{n}"} for n in range(3)]
    rows[0]["rejected"], rows[2]["rejected"] = "b0", "b2"
    path: Path = tmp_path / "c.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    data = read_chat(path, EVERYBODY)
    assert [(item.id, item.rejected) for item in data.users[0].history] == [("c0", "b0"), ("c1", None)]
    assert (data.golds, data.rejected) == ({"c2": "a2"}, {"c2": "b2"})


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"messages": [HI, said("assistant", "a")], "output": "b"}, 'has an "output" beside "messages" that end with'),
        ({"messages": [HI, said("system", "x")], "output": "b"}, 'has "messages" that end with neither the user nor'),
        ({"messages": [said("assistant", "a")]}, 'has "messages" without a last one of the user with text.'),
        ({"messages": [said("user", [PICTURE])], "output": "b"}, 'has "messages" without a last one of the user'),
        ({"messages": [HI, CALL, TOOL]}, "has none of the fields that hold the answer."),
        ({"messages": [HI], "output": " "}, "has an answer without text."),
        ({"messages": [HI, said("assistant", "")]}, "has an answer without text."),
        ({"messages": [HI], "output": [CALL]}, 'has no message of the assistant in "output".'),
        ({"messages": [HI], "output": [1]}, ': "output": message 1 is a number, not an object.'),
        ({"messages": [HI], "output": "a", "accepted": "b"}, 'has "output" and "accepted" of the fields'),
        ({"messages": [HI, said("assistant", None), HI], "output": "b"}, ': message 2 has no "content".'),
        ({"messages": [said("user", None)], "output": "b"}, ': message 1 has no "content".'),
        (
            {"input": {"messages": [HI]}, "preferred_output": []},
            'has no message of the assistant in "preferred_output"',
        ),
        ({"input": {}, "preferred_output": "x"}, ': "input" has no "messages".'),
        ({"input": {"messages": [HI]}}, 'has no "messages".'),
        ({"prompt": 3, "chosen": "x"}, 'has a number as "messages", not a list.'),
    ],
)
def test_what_is_no_conversation_is_named(record, told):
    with pytest.raises(DataError) as caught:
        read(**record)
    assert str(caught.value).startswith(f"c.jsonl, line 1{'' if told.startswith(':') else ' '}{told}")


def test_what_is_not_told_is_counted_by_record(tmp_path):
    rows = [{"user_id": "u", "messages": [HI, CALL, TOOL, CALL, TOOL, ASK], "output": str(n)} for n in range(3)]
    path: Path = tmp_path / "c.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    data = read_chat(path, EVERYBODY)
    assert data.left_out.counts == {TOOLS_LEFT_OUT: 3}
    assert data.left_out.examples[TOOLS_LEFT_OUT][0] == "c.jsonl, line 1"


@pytest.mark.parametrize("answered", [{"output": "a cat"}, {"edited": "a cat"}, {"accepted": "a cat"}, {}])
def test_a_question_without_text_is_not_that_before_it(answered):
    end = [] if answered else [said("assistant", "a cat")]
    with pytest.raises(DataError, match=r'^c\.jsonl, line 1 has "messages" without a last one of the user with text'):
        read(messages=[HI, said("assistant", "hello"), said("user", [PICTURE]), *end], **answered)


def test_pictures_before_the_question_are_left_out():
    found, counts = read(messages=[said("user", [PICTURE]), said("assistant", "a cat"), ASK], output="late")
    assert turns(found) == [("assistant", "a cat")]
    assert counts == {'parts "image_url" of messages not told': 1}
