import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.text.normal import normalised, without_marks

ANY = st.text(max_size=40)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("ＡＢＣ １２３", "abc 123"),
        ("ｶﾞｷﾞ", "ガギ"),
        ("Straße", "strasse"),
        ("Σίσυφος", "σίσυφοσ"),
        ("٥ ५ ๕", "5 5 5"),
        ("co\u00adoperate", "cooperate"),
        ("می\u200cخواهم", "میخواهم"),
        ("❤\ufe0f", "❤"),
        ("👩\u200d❤\ufe0f\u200d👩", "👩\u200d❤\u200d👩"),
    ],
    ids=ascii,
)
def test_what_is_written_in_several_ways_is_written_in_one(text, plain):
    assert normalised(text) == plain


@pytest.mark.parametrize(("text", "parts"), [("10½", ["10", "1⁄2"]), ("Foo™", ["foo", "tm"]), ("5㎏", ["5", "kg"])])
def test_signs_that_stand_for_words_do_not_grow_together_with_what_is_beside_them(text, parts):
    assert normalised(text).split() == parts


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Schöne Grüße", "schone grusse"),
        ("Łódź, Đà Nẵng, Ørsted, Ñandú", "lodz, da nang, orsted, nandu"),
        ("İstanbul ığdır", "istanbul igdir"),
        ("Καλημέρα", "καλημερα"),
        ("мёд за́мок", "мед замок"),
        ("مَرْحَبًا أحمد کتاب", "مرحبا احمد كتاب"),
        ("שָׁלוֹם", "שלום"),
    ],
)
def test_marks_that_people_leave_out_do_not_count(text, plain):
    assert without_marks(normalised(text)) == plain


@pytest.mark.parametrize(("one", "other"), [("が", "か"), ("की", "का"), ("мой", "мои"), ("ก่", "ก้"), ("한", "하")])
def test_marks_that_make_another_letter_stay(one, other):
    assert without_marks(normalised(one)) != without_marks(normalised(other))


@given(text=ANY)
def test_what_is_in_one_way_stays_so(text):
    assert normalised(normalised(text)) == normalised(text)


@given(text=st.text(st.characters(codec="ascii")))
def test_of_ascii_text_only_the_case_changes(text):
    assert without_marks(normalised(text)) == text.lower()
