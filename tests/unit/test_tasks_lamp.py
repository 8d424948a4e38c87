"""LaMP's own questions: what is instruction, what is the query's own text, and how history is told in them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.tasks import TASKS, Task
from hydra_ray.tasks.options import options, search_text, spelled_out

CITATION = (
    'For an author who has written the paper with the title "On cats", which reference is related? Just answer with '
    '[1] or [2] without explanation. [1]: "Feline gaits" [2]: "A "new" dog breed"'
)
ASKED = {
    "LaMP_1": (CITATION, CITATION.partition("title ")[2]),
    "LaMP_2N": (
        "Which category does this article relate to among the following categories? Just answer with the category name "
        "without further explanation. categories: [travel, food & drink] article: A trip.",
        "A trip.",
    ),
    "LaMP_2M": (
        "Which tag does this movie relate to among the following tags? Just answer with the tag name without further "
        "explanation. tags: [sci-fi, true story] description: A robot.",
        "A robot.",
    ),
    "LaMP_3": (
        "What is the score of the following review on a scale of 1 to 5? just answer with 1, 2, 3, 4, or 5 without "
        "further explanation. review: Fine.",
        "Fine.",
    ),
    "LaMP_4": ("Generate a headline for the following article: A fire.", "A fire."),
    "LaMP_5": ("Generate a title for the following abstract of a paper: We show it: cats.", "We show it: cats."),
    "LaMP_6": ("Generate a subject for the following email: Dear all, see you.", "Dear all, see you."),
    "LaMP_7": (
        "Paraphrase the following tweet without any explanation before or after it: I like it: cats",
        "I like it: cats",
    ),
}


@pytest.mark.parametrize("name", ASKED)
def test_a_question_is_taken_apart_and_put_together_again(name):
    asked, own = ASKED[name]
    task = TASKS[name].from_input(asked)
    assert task.query_text(asked) == own
    assert task.question(own) == asked


def test_every_task_of_lamp_is_there():
    assert {name for name in TASKS if name.startswith("LaMP")} == set(ASKED)


def test_titles_of_the_author_stand_after_the_word_title():
    task = TASKS["LaMP_1"].from_input(CITATION)
    assert task.question(ASKED["LaMP_1"][1], ["On dogs", "On {mice}"]).startswith(
        'For an author who has written the paper with the title, and "On dogs", and "On {mice}" "On cats", which '
    )


def test_tweets_of_the_person_stand_before_the_question():
    asked, own = ASKED["LaMP_7"]
    assert TASKS["LaMP_7"].from_input(asked).question(own, ["so tired!!", "gym"]) == (
        f'"so tired!!", and "gym" are written by a person. Following the given patterns {asked}'
    )


def test_only_history_without_answers_is_told_in_the_question():
    assert [name for name in ASKED if not TASKS[name].pairs] == ["LaMP_1", "LaMP_7"]


@pytest.mark.parametrize(
    ("output", "answer"),
    [("[1]", "[1]"), ("2", "[2]"), ("[1].", "[1]"), (" [2]\n", "[2]"), ("[3]", None), ("[1] or [2]", None), ("", None)],
)
def test_a_reference_is_chosen_by_its_number(output, answer):
    assert TASKS["LaMP_1"].parse(output) == answer


def test_listed_options_are_searched_with_and_judged_by_their_texts():
    assert options(CITATION) == {"[1]": "Feline gaits", "[2]": 'A "new" dog breed'}
    assert search_text(CITATION) == 'Feline gaits A "new" dog breed'
    assert spelled_out("[1]", CITATION) == "Feline gaits"
    assert spelled_out("[3]", CITATION) == "[3]"


@pytest.mark.parametrize(
    "text", ["A film.", "", 'see [1]: "one source"', '[1]: "a" and [2]: "b", which?', '[1]: "a" or so [2]: "b"']
)
def test_text_without_a_list_of_options_is_taken_as_it_is(text):
    assert options(text) == {}
    assert search_text(text) == text
    assert spelled_out("[1]", text) == "[1]"


titles = st.text().filter(lambda title: "[" not in title)


@given(paper=titles, references=st.lists(titles, min_size=2, max_size=4))
def test_any_titles_are_found_in_their_question(paper, references):
    listed = " ".join(f'[{number}]: "{title}"' for number, title in enumerate(references, 1))
    question = f'For the paper with the title "{paper}", which reference is related? {listed}'
    assert list(options(question).values()) == references


@given(text=st.text(alphabet='[]12:" ab\n'))
def test_any_text_can_be_searched_with(text):
    listed = options(text)
    assert search_text(text) in (text, " ".join(listed.values()))
    assert all(f'{number}: "{option}"' in text for number, option in listed.items())


def test_a_task_that_an_older_version_published_is_read():
    written = TASKS["LaMP_2M"].to_json()
    older = {name: value for name, value in written.items() if name not in ("history_template", "conversation")}
    assert Task.from_json(json.loads(json.dumps(older))) == TASKS["LaMP_2M"]
