import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.text.edits import edit_share

TEXTS = st.lists(st.sampled_from("abc"), max_size=12).map(" ".join)


def slow(first, second):
    """The textbook's recursion, by rows."""
    row = list(range(len(second) + 1))
    for count, word in enumerate(first, 1):
        above, row = row, [count]
        for place, other in enumerate(second, 1):
            row.append(min(above[place] + 1, row[-1] + 1, above[place - 1] + (word != other)))
    return row[-1]


@given(TEXTS, TEXTS)
def test_it_is_the_edit_distance_of_the_words(first, second):
    longer = max(len(first.split()), len(second.split()))
    assert edit_share(first, second) * longer == pytest.approx(slow(first.split(), second.split()))


@pytest.mark.parametrize(
    ("before", "after", "share"),
    [
        ("See you there.", "See you there.", 0),
        ("", "", 0),
        ("See you there.", "", 1),
        ("See you there", "See you there, Ann", 0.5),
        ("很高兴见到你", "很高兴见到她", 1 / 6),
    ],
)
def test_what_was_changed_is_a_share_of_the_longer_text(before, after, share):
    assert edit_share(before, after) == pytest.approx(share)
