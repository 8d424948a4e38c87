import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from hydra_ray.text.rouge import longest_common_subsequence, rouge

LIBRARY = RougeScorer(["rouge1", "rougeL"], use_stemmer=False)
# Two sentences of a language that share some words and not all.
LANGUAGES = {
    "Chinese": ("好的，没问题", "好的，我不去"),
    "Japanese": ("はい、大丈夫です", "いいえ、大丈夫ではない"),
    "Korean": ("네, 문제 없습니다", "네, 어렵습니다"),
    "Thai": ("ได้ครับ ไม่มีปัญหา", "ไม่ได้ครับ"),
    "Lao": ("ຂອບໃຈຫຼາຍໆ", "ຂອບໃຈເດີ"),
    "Arabic": ("نعم، لا مشكلة", "لا، شكرا"),
    "Persian": ("می‌خواهم بروم", "می‌خواهم بمانم"),
    "Hindi": ("हाँ, कोई बात नहीं", "नहीं, कोई और"),
    "Tamil": ("நன்றி நண்பா", "நன்றி ஐயா"),
    "Russian": ("Да, без проблем", "Нет, без меня"),
    "Greek": ("Ναι, κανένα πρόβλημα", "Όχι, κανένα νέο"),
    "Hebrew": ("כן, אין בעיה", "לא, אין זמן"),
    "emoji": ("👍🏽🎉🇩🇪", "🎉❤️"),
}
ASCII = st.text(st.characters(codec="ascii"), max_size=60)
WORDY = st.lists(st.sampled_from(["a", "The", "cat", "sat.", "on-the", "mat_2", "it's"]), max_size=20).map(" ".join)


@pytest.mark.parametrize(("one", "other"), LANGUAGES.values(), ids=list(LANGUAGES))
def test_equal_texts_score_one_and_similar_ones_less_in_any_language(one, other):
    assert rouge(one, one) == rouge(other, other) == (1, 1)
    assert 0 < rouge(one, other).rouge_l <= rouge(one, other).rouge_1 < 1


@pytest.mark.parametrize(
    ("output", "gold"), [("Schone Grusse", "Schöne Grüße"), ("مرحبا", "مَرْحَبًا"), ("שלום", "שָׁלוֹם"), ("ＯＫ", "ok")]
)
def test_who_leaves_marks_out_says_the_same(output, gold):
    assert rouge(output, gold) == (1, 1)


@pytest.mark.parametrize(("output", "gold"), [("", "你好"), ("你好", ""), ("。", "。"), ("猫", "犬"), ("👍", "👎")])
def test_nothing_shared_scores_nothing(output, gold):
    assert rouge(output, gold) == (0, 0)


@given(output=st.one_of(ASCII, WORDY), gold=st.one_of(ASCII, WORDY))
def test_of_ascii_texts_it_is_the_librarys_to_the_last_digit(output, gold):
    told = LIBRARY.score(gold, output)
    assert rouge(output, gold) == (told["rouge1"].fmeasure, told["rougeL"].fmeasure)


@given(one=st.lists(st.sampled_from("abc"), max_size=80), other=st.lists(st.sampled_from("abcd"), max_size=80))
def test_the_longest_common_subsequence_is_that_of_the_table(one, other):
    row = [0] * (len(other) + 1)
    for word in one:
        before = row[:]
        for place, second in enumerate(other, 1):
            row[place] = before[place - 1] + 1 if word == second else max(before[place], row[place - 1])
    assert longest_common_subsequence(one, other) == row[-1]


def test_long_texts_are_compared_whole():
    # The table would have 400 million cells.
    text = [str(number % 997) for number in range(20_000)]
    assert longest_common_subsequence(text, text[5_000:]) == 15_000
