from dataclasses import replace

from hydra_ray.records import Message
from hydra_ray.steps.prompt import Prompter

INSTRUCTION = "Which tag fits this film? description:"


def test_shots_are_earlier_turns_with_the_users_own_answers(tag_task, item, query):
    shots = [item("A robot falls.", "sci-fi", context="Robot II"), item("A king weeps.", "drama")]
    prompt = Prompter(tag_task)(query("Two cats meet."), shots)
    assert prompt.messages == (
        Message("user", f"{INSTRUCTION} A robot falls."),
        Message("assistant", "sci-fi"),
        Message("user", f"{INSTRUCTION} A king weeps."),
        Message("assistant", "drama"),
        Message("user", f"{INSTRUCTION} Two cats meet."),
    )
    assert prompt.truncated == 0


def test_without_shots_only_the_query_is_asked(tag_task, query):
    assert Prompter(tag_task)(query("Two cats meet."), []).messages == (
        Message("user", f"{INSTRUCTION} Two cats meet."),
    )


def test_long_texts_are_cut_and_counted(tag_task, item, query):
    shots = [item("one two three four", "drama"), item("one two three", "comedy"), item("a b c d e f", "drama")]
    prompt = Prompter(tag_task, shot_words=3, max_input_chars=10)(query("0123456789 and more"), shots)
    asked = [message.content.removeprefix(f"{INSTRUCTION} ") for message in prompt.messages if message.role == "user"]
    assert asked == ["one two three", "one two three", "a b c", "0123456789"]
    assert prompt.truncated == 3


def test_a_query_at_the_limit_is_not_cut(tag_task, query):
    prompt = Prompter(tag_task, max_input_chars=10)(query("0123456789"), [])
    assert (prompt.messages[0].content, prompt.truncated) == (f"{INSTRUCTION} 0123456789", 0)


def test_what_was_said_before_stands_between_shots_and_query_and_a_profile_before_all(tag_task, item, query):
    turns = (Message("user", "What of dogs?"), Message("assistant", "comedy"))
    asked = replace(query("Two cats meet."), turns=turns)
    prompt = Prompter(tag_task)(asked, [item("A robot falls.", "sci-fi")], "Likes robots.")
    assert [message.role for message in prompt.messages] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert prompt.messages[0].content == "Likes robots."
    assert prompt.messages[3:5] == turns
