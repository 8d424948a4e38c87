import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.text.cut import count_words, first_characters, first_words
from hydra_ray.text.words import graphemes

ENGLISH = st.text(st.sampled_from("ab. ,'\n\té€"), max_size=60)
FAMILY = "👩\u200d👩\u200d👧"
CLUSTERS = ["a", "b", " ", "，", "好", "的", "が", "ที่", "ग", "की", "🇩🇪", FAMILY, "\r\n", "é"]
MIXED = st.lists(st.sampled_from(CLUSTERS), max_size=30).map("".join)


@given(text=ENGLISH, most=st.integers(1, 8))
def test_where_blanks_part_words_the_first_ones_stay(text, most):
    assert first_words(text, most) == " ".join(text.split()[:most])
    assert count_words(text) == len(text.split())


@pytest.mark.parametrize(
    ("most", "kept"),
    [
        (1, "好"),
        (2, "好的"),
        (3, "好的，没"),
        (5, "好的，没问题"),
        (6, "好的，没问题。iPhone"),
        (9, "好的，没问题。iPhone手机 很"),
        (10, "好的，没问题。iPhone手机 很好"),
    ],
)
def test_of_scripts_without_blanks_characters_count(most, kept):
    text = "好的，没问题。iPhone手机\n很好"
    assert first_words(text, most) == kept
    assert count_words(text) == 10


@pytest.mark.parametrize("text", ["汉" * 20_000, "ที่" * 20_000, "か" * 20_000, "ມ" * 20_000])
def test_a_long_text_without_blanks_is_cut(text):
    assert len(graphemes(first_words(text, 50))) == 50


def test_words_without_end_are_cut_by_characters():
    assert first_words("x" * 9_999, 50) == "x" * 2_000
    assert first_words("one two three", 50, 7) == "one two"


@given(text=MIXED, most=st.integers(1, 20))
def test_what_is_kept_is_whole_and_begins_the_text(text, most):
    single = " ".join(text.split())
    kept = first_words(text, most)
    assert single.startswith(kept)
    assert count_words(kept) <= most
    assert kept == single or count_words(single) > most


@given(text=MIXED, most=st.integers(1, 40))
def test_no_grapheme_cluster_is_cut_in_two(text, most):
    kept = first_characters(text, most)
    assert text.startswith(kept)
    assert len(kept) <= most
    whole = graphemes(text)
    assert graphemes(kept) == whole[: len(graphemes(kept))]
    # As much as there is room for.
    left = whole[len(graphemes(kept)) :]
    assert not left or len(kept) + len(left[0]) > most
