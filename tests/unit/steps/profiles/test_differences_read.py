"""What is read of an LLM's answer about a difference."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hydra_ray.steps.profiles.differences import Difference, read_difference

GOOD = {"writing": "short words", "emotional": "calm", "semantic": "looks at colours"}


@pytest.mark.parametrize(
    "around",
    ["{}", "```json\n{}\n```", "Sure! Here {{it}} is:\n{}\nHope that helps :-}}", "[{}]", '{{"answer": 1}} {}', "{}{{"],
)
def test_fences_and_prose_around_the_object_do_not_matter(around):
    answer = around.format(json.dumps({**GOOD, "extra": [1]}))
    assert read_difference(answer) == Difference(**GOOD)


def test_a_line_may_end_within_a_string():
    assert read_difference('{"writing": "two\nlines", "emotional": "calm", "semantic": "x"}').writing == "two\nlines"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("", "no complete JSON object"),
        ("no braces", "no complete JSON object"),
        ('{"writing": "a", "emotional": "b", "semantic": "c"', "no complete JSON object"),
        ('{"writing": "a", "emotional": "b"}', "semantic: Field required"),
        ('{"writing": "a", "emotional": " ", "semantic": "c"}', "emotional: String should have at least 1 character"),
        ('{"writing": 3, "emotional": "b", "semantic": "c"}', "writing: Input should be a valid string"),
        ('{"a":' * 20_000, "no complete JSON object"),
    ],
)
def test_what_is_no_difference_says_why(answer, told):
    with pytest.raises(ValueError, match=told):
        read_difference(answer)


words = st.text(min_size=1).filter(lambda text: text.strip())
prose = st.text(st.characters(exclude_characters="{}", exclude_categories=["Cs"]))


@given(
    st.fixed_dictionaries(dict.fromkeys(GOOD, st.from_regex(r"\w[^\x00\ud800-\udfff]*\w", fullmatch=True))),
    prose,
    prose,
)
def test_any_object_in_any_prose_is_read_as_it_is(said, before, after):
    for ascii_only in (True, False):
        read = read_difference(f"{before}{json.dumps(said, ensure_ascii=ascii_only)}{after}")
        assert read.model_dump() == said


@given(
    st.text() | st.recursive(words, lambda inner: st.dictionaries(st.sampled_from([*GOOD, "x"]), inner)).map(json.dumps)
)
def test_whatever_an_llm_says_is_refused_or_fit_to_be_stored(answer):
    with contextlib.suppress(ValueError):
        read = read_difference(answer)
        assert all(text and text.strip() == text and "\0" not in text for _, text in read)
        read.model_dump_json().encode()


def test_differences_cannot_be_made_of_nothing():
    with pytest.raises(ValidationError):
        Difference(writing=" ", emotional="b", semantic="c")
