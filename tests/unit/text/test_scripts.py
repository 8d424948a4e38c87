"""Scripts of texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.text.scripts import script_shares


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Schöne Grüße, 2021!", "Latin"),
        ("明天能开会吗", "Han"),
        ("ありがとうカタカナー", "Kana"),
        ("안녕하세요", "Hangul"),
        ("สวัสดีครับ", "Thai"),
        ("مرحبا بالعالم", "Arabic"),
        ("नमस्ते", "Devanagari"),
        ("Привет", "Cyrillic"),
        ("Καλημέρα", "Greek"),
        ("שלום", "Hebrew"),
        ("😀👍🏽❤️", "emoji"),
        ("გამარჯობა", "other"),
    ],
)
def test_a_text_of_one_script_is_wholly_of_it(text, script):
    assert script_shares([text]) == {script: 1.0}


def test_shares_are_of_letters_largest_first():
    assert list(script_shares(["会议 ok?", "明天 12:00"]).items()) == [("Han", 4 / 6), ("Latin", 2 / 6)]
    assert script_shares(["12:00 ... #*", ""]) == {}


@given(st.lists(st.text()))
def test_shares_are_shares(texts):
    shares = script_shares(texts)
    assert not shares or abs(sum(shares.values()) - 1) < 1e-9
