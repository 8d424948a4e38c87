import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import bm25s
import pytest
from defaults import search_words
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.text.search import stemmers

PLAIN = st.lists(
    st.sampled_from(["the", "Robot", "falls", "in", "love", "2024", "a", "x", "it's", "co-op."]), max_size=15
)


@given(said=PLAIN.map(" ".join))
def test_of_plain_english_words_are_those_that_bm25s_takes(said):
    told = bm25s.tokenize([said], stopwords="en", return_ids=False, show_progress=False)[0]
    # Where nothing else is there, single letters count.
    assert search_words(said) == told or (not told and set(search_words(said)) <= {"x", "s"})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("日本語です", {"日本", "本語", "語で", "です", "日", "語"}),
        ("我的猫", {"我的", "的猫", "猫"}),
        ("猫", {"猫"}),
        ("の", {"の"}),
        ("ที่นี่", {"ที่นี่"}),
        ("회의실은", {"회의", "의실", "실은"}),
        ("네", {"네"}),
        ("Grüße aus München", {"grusse", "aus", "munchen"}),
        ("C++", {"c++"}),
        ("C", {"c"}),
        (".NET", {"net", ".net"}),
        ("👍🏽 great", {"👍🏽", "great"}),
        ("ăn phở", {"an", "pho"}),
        ("the of 的", set()),
    ],
    ids=lambda value: ascii(sorted(value) if isinstance(value, set) else value),
)
def test_what_a_text_is_found_by(text, told):
    assert set(search_words(text)) == told


@pytest.mark.parametrize(
    ("language", "one", "other"),
    [("english", "running robots", "robot runs"), ("german", "Häuser", "Hauses"), ("russian", "книги", "книгу")],
)
def test_a_stemmer_makes_one_word_of_two(language, one, other):
    assert not set(search_words(one)) & set(search_words(other))
    assert set(search_words(one, language)) & set(search_words(other, language))


def test_a_stemmer_may_be_asked_in_several_threads():
    said = [f"words{number} running{number} nations{number}" for number in range(300)]
    alone = [search_words(text, "french") for text in said]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda text: search_words(text, "french"), said)) == alone


def test_stemmers_are_known_by_name():
    assert {"english", "german", "russian", "arabic", "hindi"} <= set(stemmers())


def test_who_reads_settings_loads_nothing_to_search_with():
    """Each process that Ray starts reads them, and most search nothing."""
    code = "import sys; import hydra_ray.settings; sys.exit(bool({'bm25s', 'numba', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
