import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.tokenizers import DefaultTokenizer

from hydra_ray.text.normal import normalised, without_marks
from hydra_ray.text.words import graphemes, is_character, parted, signed_words, words

CLUSTERS = [
    *"abz09 '.-_,你好々かカーがß€яй한글★",
    "กี่",
    "ที่",
    "हि",
    "न्दी",
    "कि",
    "שָׁ",
    "מַ",
    "é",
    "è",
    "👍🏽",
    "👩\u200d👩",
    "🇩🇪",
    "5\ufe0f\u20e3",
]
MIXED = st.lists(st.sampled_from(CLUSTERS), max_size=30).map("".join)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("明天能开会吗？OK！", ["明", "天", "能", "开", "会", "吗", "ok"]),
        ("コーヒーと々", ["コ", "ー", "ヒ", "ー", "と", "々"]),
        ("ที่นี่ดีมาก", ["ที่", "นี่", "ดี", "ม", "า", "ก"]),
        ("회의실은 LG전자", ["회", "의", "실", "은", "lg", "전", "자"]),
        ("हिन्दी भाषा की", ["हिन्दी", "भाषा", "की"]),
        ("مَرْحَبًا بك", ["مرحبا", "بك"]),
        ("שָׁלוֹם עולם", ["שלום", "עולם"]),
        ("Доброе утро", ["доброе", "утро"]),
        ("l’homme d'été", ["l", "homme", "d", "ete"]),
        ("iPhone手机15", ["iphone", "手", "机", "15"]),
        ("👩\u200d❤️\u200d👩👍🏽🇩🇪🇫🇷!", ["👩\u200d❤\u200d👩", "👍🏽", "🇩🇪", "🇫🇷"]),
        ("★★☆ 5€", ["★", "★", "☆", "5", "€"]),
        ("ព្រះរាជា", ["ព្រះ", "រា", "ជា"]),
        (
            "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
            ["🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"],
        ),
        ("？！。", []),
    ],
    ids=ascii,
)
def test_words_of_any_script(text, told):
    assert words(text) == told


@given(text=st.text(st.characters(codec="ascii"), max_size=60))
def test_of_ascii_text_words_are_those_of_rouge_score(text):
    assert words(text) == DefaultTokenizer().tokenize(text)


@given(text=st.text(st.sampled_from("aZ9’“”–…\u00a0 "), max_size=40))
def test_of_english_with_typographic_punctuation_too(text):
    assert words(text) == DefaultTokenizer().tokenize(text)


@given(text=MIXED)
def test_no_word_is_torn_out_of_a_grapheme_cluster_or_reaches_over_a_word_boundary_of_uax_29(text):
    plain = without_marks(normalised(text))
    borders, place = set(), 0
    for part in regex.split(r"(?wV1)\b", plain):
        place += len(part)
        borders.add(place)
    clusters, place = {0}, 0
    for cluster in graphemes(plain):
        place += len(cluster)
        clusters.add(place)
    at = 0
    for word in words(text):
        start = plain.index(word, at)
        at = start + len(word)
        assert {start, at} <= clusters, "a cluster is torn"
        if not is_character(word) and regex.fullmatch(r"[\p{L}\p{M}\p{N}]+", word):
            assert not {border for border in borders if start < border < at}, "two words are one"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("C++, C# and (A+)", ["c++", "c#", "a+"]),
        (".NET for $5 or €5", [".net", "$5", "€5"]),
        ("Ｃ＋＋", ["c++"]),
        ("我会C++编程，用.NET，$5元", [".net", "$5", "c++"]),
        ("1+1 a+b x#y end. Next e.g. this", []),
    ],
)
def test_words_with_signs_that_make_other_words_of_them(text, told):
    assert signed_words(text) == told


def test_texts_are_parted_for_who_splits_at_blanks():
    assert parted("我爱 NY！").split() == ["我", "爱", "NY", "！"]
    assert parted("“It’s (here)…” · fine") == "“It’s (here)…” · fine"
