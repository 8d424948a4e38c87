"""What is before what, where dates are more or less exact."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.dates import before, surely_before


@pytest.mark.parametrize(
    ("ts", "than", "known"),
    [
        ("2001", "2002", True),
        ("2001-12-31", "2002", True),
        ("2002", "2002", False),
        # It may have been any day of that year, or any hour of that day.
        ("2002", "2002-05-01", False),
        ("2002-05-01", "2002", False),
        ("2002-05-01", "2002-05-01T09:00", False),
        ("2002-05-01T08:59", "2002-05-01T09:00", True),
        ("2003", "2002", False),
        (None, "2002", True),
        ("2002", None, True),
        (None, None, True),
    ],
)
def test_only_what_is_surely_older_is_before(ts, than, known):
    assert before(ts, than) is known


@given(first=st.datetimes().map(str), second=st.datetimes().map(str))
def test_nothing_is_before_what_is_before_it(first, second):
    assert not (before(first, second) and before(second, first))
    assert not before(first, first)


@given(ts=st.sampled_from(["2001", "2002", "2002-05", "2003"]), than=st.sampled_from(["2002", "2002-05-01", None]))
def test_what_others_dated_is_before_as_ones_own_is(ts, than):
    assert surely_before(ts, than) is before(ts, than)


def test_what_others_did_not_date_is_before_nothing_that_is_dated():
    assert not surely_before(None, "2002")
    assert surely_before(None, None)
