from dataclasses import replace

import pytest
from defaults import prompter

from hydra_ray.records import Message
from hydra_ray.tasks import CHAT_TASK, TASKS, TEXT_TASK

INSTRUCTION = "Which tag fits this film? description:"


def test_shots_are_earlier_turns_with_the_users_own_answers(tag_task, item, query):
    shots = [item("A robot falls.", "sci-fi", context="Robot II"), item("A king weeps.", "drama")]
    prompt = prompter(tag_task)(query("Two cats meet."), shots)
    assert prompt.messages == (
        Message("user", f"{INSTRUCTION} A robot falls."),
        Message("assistant", "sci-fi"),
        Message("user", f"{INSTRUCTION} A king weeps."),
        Message("assistant", "drama"),
        Message("user", f"{INSTRUCTION} Two cats meet."),
    )
    assert prompt.truncated == 0


def test_without_shots_only_the_query_is_asked(tag_task, query):
    assert prompter(tag_task)(query("Two cats meet."), []).messages == (
        Message("user", f"{INSTRUCTION} Two cats meet."),
    )


def test_long_texts_are_cut_and_counted(tag_task, item, query):
    shots = [item("one two three four", "drama"), item("one two three", "comedy"), item("a b c d e f", "drama")]
    prompt = prompter(tag_task, shot_words=3, max_input_chars=10)(query("0123456789 and more"), shots)
    asked = [message.content.removeprefix(f"{INSTRUCTION} ") for message in prompt.messages if message.role == "user"]
    assert asked == ["one two three", "one two three", "a b c", "0123456789"]
    assert prompt.truncated == 3


@pytest.mark.parametrize("text", ["汉" * 20_000, "ทดสอบ" * 4_000, "か" * 20_000, "x" * 20_000])
def test_a_text_without_blanks_is_cut_and_counted_too(item, query, text):
    prompt = prompter(TEXT_TASK)(query("你好"), [item(text, "好")])
    assert prompt.truncated == 1
    assert len(prompt.messages[0].content) <= 2_000


def test_in_scripts_without_blanks_a_character_is_a_word(item, query):
    shots = [item("好的，没问题", "好"), item("好的", "好")]
    prompt = prompter(TEXT_TASK, shot_words=3)(query("你好"), shots)
    assert [message.content for message in prompt.messages] == ["好的，没", "好", "好的", "好", "你好"]
    assert prompt.truncated == 1


def test_examples_are_cut_in_characters_too_where_so_many_are_set(item, query):
    prompt = prompter(TEXT_TASK, shot_chars=7)(query("Hi"), [item("one two three", "1"), item("one two", "2")])
    assert [message.content for message in prompt.messages] == ["one two", "1", "one two", "2", "Hi"]
    assert prompt.truncated == 1


def test_no_character_is_cut_in_two(item, query):
    prompt = prompter(TEXT_TASK, max_input_chars=4)(query("हिन्दी"), [item("Hi", "ok 👍🏽")])
    assert [message.content for message in prompt.messages] == ["Hi", "ok ", "हि"]
    assert prompt.truncated == 2


def test_a_query_at_the_limit_is_not_cut(tag_task, query):
    prompt = prompter(tag_task, max_input_chars=10)(query("0123456789"), [])
    assert (prompt.messages[0].content, prompt.truncated) == (f"{INSTRUCTION} 0123456789", 0)


def test_what_was_said_before_stands_between_shots_and_query_and_a_profile_before_all(tag_task, item, query):
    turns = (Message("user", "What of dogs?"), Message("assistant", "comedy"))
    asked = replace(query("Two cats meet."), turns=turns)
    prompt = prompter(tag_task)(asked, [item("A robot falls.", "sci-fi")], "Likes robots.")
    assert [message.role for message in prompt.messages] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert prompt.messages[0].content == "Likes robots."
    assert prompt.messages[3:5] == turns


def test_history_without_answers_is_told_in_the_one_message(item, query):
    task = replace(TASKS["LaMP_7"], instruction="Paraphrase the following tweet without any explanation after")
    tweets = [item("so tired!!", "so tired!!"), item("one two three four", "one two three four")]
    prompt = prompter(task, shot_words=3)(query("I need sleep"), tweets, "Writes short tweets.")
    assert prompt.messages == (
        Message("system", "Writes short tweets."),
        Message(
            "user",
            '"so tired!!", and "one two three" are written by a person. Following the given patterns '
            "Paraphrase the following tweet without any explanation after it: I need sleep",
        ),
    )
    assert prompt.truncated == 1
    assert prompter(task)(query("Sleep"), []).messages == (Message("user", task.question("Sleep")),)


def test_an_author_is_told_by_titles_not_by_abstracts(item, query):
    paper = item("We measure gaits.", "On dogs", context="On dogs")
    (message,) = prompter(TASKS["LaMP_1"])(query('"On cats", which?'), [paper]).messages
    assert message.content == 'title, and "On dogs" "On cats", which?'


def test_long_answers_of_the_user_are_cut_and_counted(item, query):
    prompt = prompter(TEXT_TASK, max_input_chars=4)(query("Hi"), [item("Hello", "12345"), item("Hey", "1234")])
    assert [message.content for message in prompt.messages] == ["Hello", "1234", "Hey", "1234", "Hi"]
    assert prompt.truncated == 1


def test_a_conversations_instructions_open_the_chat_with_the_profile(item, query):
    later = Message("system", "Be brief.")
    said = (Message("user", "Hi"), later, Message("assistant", "Hello"))
    turns = (Message("system", "You are a poet."), Message("developer", "Use rhyme."), *said)
    prompt = prompter(CHAT_TASK)(replace(query("And now?"), turns=turns), [item("Sea?", "Blue.")], "Likes the sea.")
    assert prompt.messages == (
        Message("system", "You are a poet.\n\nUse rhyme.\n\nLikes the sea."),
        Message("user", "Sea?"),
        Message("assistant", "Blue."),
        *said,
        Message("user", "And now?"),
    )
