"""What of a reply is an answer, and why there is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.steps.generate.endpoint.reply import read_reply, without_reasoning

CHANNELS = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>fine<|return|>"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("fine", "fine"),
        (" fine\n", "fine"),
        ("<think>\nhm\n</think>\n\nfine", "fine"),
        ("\n<THINK>hm</THINK>fine", "fine"),
        ("<thinking>hm</thinking>fine", "fine"),
        ("<reasoning>hm</reasoning>fine", "fine"),
        ("<think></think>fine", "fine"),
        ("<think>a</think><think>b</think>fine", "fine"),
        ("<think>a</think>fine <think>b</think>and well", "fine and well"),
        ("<think>a <think>b</think> c</think>fine", "fine"),
        ("<think>what is <think>?</think>fine", "fine"),
        ("<think>a</thinking>fine", "fine"),
        ('<think about="it">a</think>fine', "fine"),
        ("[THINK]hm[/THINK]fine", "fine"),
        ("◁think▷hm◁/think▷fine", "fine"),
        ("<|begin_of_thought|>hm<|end_of_thought|>fine", "fine"),
        ("hm, let me see\n</think>\n\nfine", "fine"),
        (CHANNELS, "fine"),
        ("analysisWe should be kind.assistantfinalfine", "fine"),
        ("<think>hm", None),
        ("<think>hm <think> again", None),
        ("<|channel|>analysis<|message|>hm", None),
        ("<think>hm</think>", ""),
        # Not at the beginning: it is what the answer is about.
        ("Write <think> before </think>", "Write <think> before </think>"),
        ("<b>fine</b>", "<b>fine</b>"),
        ("<thin>fine", "<thin>fine"),
        ("analysis of the sea", "analysis of the sea"),
    ],
)
def test_reasoning_is_left_out(text, answer):
    assert without_reasoning(text) == answer


@given(st.text(), st.text(alphabet=st.characters(blacklist_characters="<[◁>]▷|")))
def test_whatever_is_thought_the_answer_stays(thought, answer):
    thought = thought.replace("</think", "")
    assert without_reasoning(f"<think>{thought}</think>{answer}") == answer.strip()


def choice(content, finish="stop", **more):
    return {"message": {"role": "assistant", "content": content, **more}, "finish_reason": finish}


TEXT = {"type": "text", "text": "fine"}
THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}


@pytest.mark.parametrize(
    ("one", "texts"),
    [
        (choice("fine"), ("fine",)),
        (choice([TEXT]), ("fine",)),
        (choice([THOUGHT, TEXT, {"type": "text", "text": " and well"}]), ("fine and well",)),
        (choice([{"type": "output_text", "text": {"value": "fine"}}]), ("fine",)),
        (choice(["fi", "ne"]), ("fine",)),
        (choice("fine", reasoning_content="hm"), ("fine",)),
        (choice("fine", reasoning="hm"), ("fine",)),
        (choice("fi", "length"), ("fi",)),
    ],
)
def test_the_answer_is_found_whatever_the_form(one, texts):
    assert read_reply({"choices": [one]}).texts == texts


@pytest.mark.parametrize(
    ("one", "kind", "why"),
    [
        (choice(""), "empty", ""),
        (choice(None), "empty", ""),
        (choice("", "length"), "empty", "within max_tokens"),
        (choice(None, "length", reasoning_content="hm"), "empty", "reasoning did not end within max_tokens"),
        (choice(None, reasoning_content="hm"), "empty", "there was reasoning and no answer"),
        (choice("", reasoning="hm"), "empty", "there was reasoning and no answer"),
        (choice("<think>hm"), "empty", "reasoning did not end within max_tokens"),
        (choice("<think>hm</think>"), "empty", "there was reasoning and no answer"),
        (choice([THOUGHT]), "empty", "there was reasoning and no answer"),
        (choice(None, refusal="I will not."), "filtered", "the LLM declined"),
        (choice("so far", "content_filter"), "filtered", "content filter"),
        (choice("so far", "SAFETY"), "filtered", "SAFETY"),
        (choice("", "sensitive"), "filtered", "sensitive"),
        # Half an answer is none.
        (choice("so far", "error"), "server", "failed"),
        (choice("so far", "abort"), "server", "abort"),
        (choice("so far", "insufficient_system_resource"), "server", "insufficient_system_resource"),
        (choice("", "network_error"), "server", "network_error"),
        ({**choice("so far"), "error": {"code": 502, "message": "gone"}}, "server", "gone"),
        ({"message": {"role": "assistant"}, "finish_reason": "error", "error": {"message": "x"}}, "server", "failed"),
        ({"message": None}, "malformed", ""),
        ({}, "malformed", ""),
        (5, "malformed", ""),
    ],
)
def test_why_there_is_no_answer(one, kind, why):
    reply = read_reply({"choices": [one, choice("fine")]})
    assert (reply.texts, reply.choices) == (("fine",), 2)
    assert reply.lost[0][0] == kind
    assert why in reply.lost[0][1]
    assert bool(why) == bool(reply.lost[0][1])


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 3}, (9, 3)),
        ({"prompt_tokens": "many", "completion_tokens": -3}, (0, 0)),
        ({"prompt_tokens": 10**30, "completion_tokens": None}, (0, 0)),
        ([9], (0, 0)),
        ("9", (0, 0)),
        (None, (0, 0)),
    ],
)
def test_tokens_are_counted_where_they_are_told(told, counted):
    reply = read_reply({"choices": [choice("fine")], "usage": told})
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == counted
    assert reply.has_usage == any(counted)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["choices", "message", "content", "text", "type", "usage", "prompt_tokens", "refusal", "error"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=15,
    )
)
def test_any_body_can_be_read(body):
    reply = read_reply(body)
    assert len(reply.texts) + len(reply.lost) == reply.choices
    assert reply.usage.calls == 1
    assert all(isinstance(text, str) and text for text in reply.texts)
