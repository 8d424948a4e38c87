import json

import pytest

from hydra_ray.tasks import TASKS, TEXT_TASK, Task

STARS = Task(name="stars", kind="rating", labels=("1", "2", "3", "4", "5"))
MOVIE_INSTRUCTION = "Which tag does this movie relate to among the following tags? tags: [sci-fi, based on a book, fun]"
MOVIE = f"{MOVIE_INSTRUCTION} description: A robot reads. Its description: unread."


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        ("comedy", "comedy"),
        (" Sci - Fi.\n", "sci-fi"),
        ('"Dark_Comedy"', "dark comedy"),
        ("DRAMA!", "drama"),
        ("a comedy", None),
        ("comedy, drama", None),
        ("romance", None),
        ("...", None),
        ("", None),
    ],
)
def test_a_label_is_found_whatever_its_case_and_marks(tag_task, output, answer):
    assert tag_task.parse(output) == answer


@pytest.mark.parametrize(
    ("output", "gold", "score"),
    [
        ("Comedy.", "comedy", 1),
        ("sci-fi", "Sci - Fi", 1),
        ("comedy", "dark comedy", 0),
        ("dark comedy", "comedy", 0),
        ("", "comedy", 0),
        ("", "", 0),
        ("romance", "romance", 0),
    ],
)
def test_a_label_scores_by_equality(tag_task, output, gold, score):
    assert tag_task.score(output, gold) == score


@pytest.mark.parametrize("labels", [("+", "-"), ("c", "c++"), ("कि", "का")])
def test_labels_that_differ_in_signs_only_are_different(labels):
    task = Task(name="signs", kind="classification", labels=labels)
    assert [task.parse(label) for label in labels] == list(labels)
    assert task.score(labels[0], labels[1]) == 0
    assert task.parse("") is None


@pytest.mark.parametrize(
    ("labels", "output", "answer"),
    [
        (("喜剧", "剧情"), "「喜剧」。", "喜剧"),
        (("コメディ", "ドラマ"), "ｺﾒﾃﾞｨ", "コメディ"),
        (("कॉमेडी", "नाटक"), " कॉमेडी।", "कॉमेडी"),
        (("كوميديا", "دراما"), "كُومِيدْيَا.", "كوميديا"),
        (("ตลก", "เศร้า"), "“เศร้า”", "เศร้า"),
        (("Grüße", "Hallo"), "GRUSSE!", "Grüße"),
        (("péché", "pêche"), "peche", None),
        (("péché", "pêche"), "Pêche.", "pêche"),
        (("comedy", "drama"), "✅ Ｃｏｍｅｄｙ", "comedy"),
        (("👍", "👎"), "👎.", "👎"),
        (("👍", "👎"), "“👍🏽”", "👍"),
        (("❤️", "💔"), "❤", "❤️"),
        (("🇩🇪", "🇫🇷"), "🇫🇷!", "🇫🇷"),
        (("👩", "👩‍❤️‍👩"), "👩‍❤‍👩.", "👩‍❤️‍👩"),
        (("👍", "👎"), "🎉", None),
        (("c", "c++"), "C++.", "c++"),
        (("Drama", "drama"), "drama", "drama"),
    ],
    ids=ascii,
)
def test_labels_of_any_script_are_found(labels, output, answer):
    assert Task(name="any", kind="classification", labels=labels).parse(output) == answer


@pytest.mark.parametrize("output", ["５", "٥", "५", "5️⃣", "⑤", "５．０", "٥٫٠", "5,0", "5。", "5।"])
def test_a_rating_may_be_written_in_any_digits(output):
    assert STARS.parse(output) == "5"
    assert Task(name="arabic", kind="rating", labels=("١", "٣", "٥")).parse(output) == "٥"


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        ("4", "4"),
        (" 4.0\n", "4"),
        ("4.", "4"),
        ("4.5", None),
        ("0", None),
        ("6", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1_0", None),
        ("五", None),
        ("four", None),
        ("4/5", None),
        ("", None),
    ],
)
def test_a_rating_is_a_whole_number_on_the_scale(output, answer):
    assert STARS.parse(output) == answer


@pytest.mark.parametrize(
    ("output", "gold", "score"), [("5", "5", 1), ("4.0", "5", 0.75), ("1", "5", 0), ("5", "1", 0), ("no idea", "5", 0)]
)
def test_a_rating_loses_by_its_distance(output, gold, score):
    assert STARS.score(output, gold) == score


def test_a_rating_is_measured_on_its_own_scale():
    assert Task(name="short", kind="rating", labels=("1", "2", "3")).score("1", "2") == 0.5


def test_free_text_is_its_own_answer():
    assert TEXT_TASK.parse("  Two words.\n") == "Two words."
    assert TEXT_TASK.parse(" \n") is None
    assert not TEXT_TASK.closed


@pytest.mark.parametrize(
    ("output", "score"),
    [
        ("The cat sat on the mat!", 1),
        # ROUGE-1: 3 of 3 and 3 of 6 words, F 2/3. ROUGE-L: "the cat" is 2 of 3 and 2 of 6, F 4/9.
        ("mat the cat", (2 / 3 + 4 / 9) / 2),
        # Not stemmed.
        ("cats mats", 0),
        ("", 0),
    ],
)
def test_free_text_scores_the_mean_of_rouge_1_and_rouge_l(output, score):
    assert TEXT_TASK.score(output, "the cat sat on the mat") == pytest.approx(score)


@pytest.mark.parametrize(
    "text",
    [
        "好的，没问题",
        "大丈夫です",
        "문제없어요",
        "ได้ครับ",
        "لا مشكلة",
        "कोई बात नहीं",
        "Без проблем",
        "Κανένα πρόβλημα",
        "אין בעיה",
        "👍🏽🎉",
    ],
)
def test_what_is_said_in_the_same_words_scores_one_in_any_language(text):
    assert TEXT_TASK.score(text, text) == 1
    assert 0 < TEXT_TASK.score(text, f"{text} ok") < 1
    assert TEXT_TASK.score("ok", text) == 0


def test_who_writes_without_umlauts_is_understood():
    assert TEXT_TASK.score("Schone Grusse", "Schöne Grüße") == 1


def test_instruction_and_labels_come_from_the_input():
    task = TASKS["LaMP_2M"].from_input(MOVIE)
    assert task.instruction == MOVIE_INSTRUCTION
    assert task.labels == ("sci-fi", "based on a book", "fun")
    assert task.query_text(MOVIE) == "A robot reads. Its description: unread."
    assert task.question(task.query_text(MOVIE)) == MOVIE


def test_a_task_without_listed_labels_keeps_its_own():
    task = TASKS["LaMP_3"].from_input("What is the score of the following review? review: Good.")
    assert (task.instruction, task.labels) == ("What is the score of the following review?", STARS.labels)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("tags: [sci-fi] plot: A robot.", '"description:" is not in the input'),
        ("Which tag? tags: sci-fi description: A robot.", 'no list of answers "tags:'),
        ("Which tag? description: A robot. tags: [sci-fi]", 'no list of answers "tags:'),
    ],
)
def test_an_input_of_another_form_is_refused(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        TASKS["LaMP_2M"].from_input(text)


def test_a_message_may_carry_the_instruction_or_leave_it_out(tag_task):
    asked = tag_task.question("A robot falls.")
    assert asked == "Which tag fits this film? description: A robot falls."
    assert tag_task.query_text(asked) == tag_task.query_text(" A robot falls. ") == "A robot falls."
    assert TEXT_TASK.query_text(" Hello ") == "Hello"


def test_a_message_that_only_begins_like_the_instruction_stays_whole():
    assert Task(name="text", kind="generation", instruction="Tag").query_text("Tagliatelle at home") == (
        "Tagliatelle at home"
    )


def test_an_instruction_in_chinese_needs_no_blank_after_it():
    task = Task(name="text", kind="generation", instruction="请替此人回复。")
    assert (
        task.query_text("请替此人回复。明天能开会吗")
        == task.query_text("请替此人回复。 明天能开会吗")
        == "明天能开会吗"
    )
    assert Task(name="text", kind="generation", instruction="回复").query_text("回复函怎么写") == "回复函怎么写"


@pytest.mark.parametrize("name", list(TASKS))
def test_a_task_survives_json(name):
    task = TASKS[name]
    assert task.name == name
    assert Task.from_json(json.loads(json.dumps(task.to_json()))) == task
