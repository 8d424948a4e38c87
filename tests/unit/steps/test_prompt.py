from hydra_ray.records import Message
from hydra_ray.steps.prompt import Prompter

INSTRUCTION = "Which tag fits this film? description:"


def test_shots_are_earlier_turns_with_the_users_own_answers(tag_task, item):
    shots = [item("A robot falls.", "sci-fi", context="Robot II"), item("A king weeps.", "drama")]
    prompt = Prompter(tag_task)("Two cats meet.", shots)
    assert prompt.messages == (
        Message("user", f"{INSTRUCTION} A robot falls."),
        Message("assistant", "sci-fi"),
        Message("user", f"{INSTRUCTION} A king weeps."),
        Message("assistant", "drama"),
        Message("user", f"{INSTRUCTION} Two cats meet."),
    )
    assert prompt.truncated == 0


def test_without_shots_only_the_query_is_asked(tag_task):
    assert Prompter(tag_task)("Two cats meet.", []).messages == (Message("user", f"{INSTRUCTION} Two cats meet."),)


def test_long_texts_are_cut_and_counted(tag_task, item):
    shots = [item("one two three four", "drama"), item("one two three", "comedy"), item("a b c d e f", "drama")]
    prompt = Prompter(tag_task, shot_words=3, max_input_chars=10)("0123456789 and more", shots)
    asked = [message.content.removeprefix(f"{INSTRUCTION} ") for message in prompt.messages if message.role == "user"]
    assert asked == ["one two three", "one two three", "a b c", "0123456789"]
    assert prompt.truncated == 3


def test_a_query_at_the_limit_is_not_cut(tag_task):
    prompt = Prompter(tag_task, max_input_chars=10)("0123456789", [])
    assert (prompt.messages[0].content, prompt.truncated) == (f"{INSTRUCTION} 0123456789", 0)
