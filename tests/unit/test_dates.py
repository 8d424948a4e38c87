"""What dates say, what is before what, and the order of things that have some."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.dates import (
    ACCEPTED,
    before,
    earliest,
    in_order,
    is_date,
    latest,
    numbered_and_written,
    span,
    surely_before,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc]


def read(ts: str) -> tuple[datetime, datetime]:
    start, end = (EPOCH + timedelta(microseconds=bound // 1000) for bound in span(ts))
    return start, end


@pytest.mark.parametrize(
    ("ts", "start", "length"),
    [
        ("2021", at(2021, 1, 1), timedelta(365)),
        ("2020", at(2020, 1, 1), timedelta(366)),
        (" 2021 ", at(2021, 1, 1), timedelta(365)),
        ("2021.0", at(2021, 1, 1), timedelta(365)),
        ("0987", at(987, 1, 1), timedelta(365)),
        ("2021-3", at(2021, 3, 1), timedelta(31)),
        ("2021-02", at(2021, 2, 1), timedelta(28)),
        ("2021/12", at(2021, 12, 1), timedelta(31)),
        ("2021-3-9", at(2021, 3, 9), timedelta(1)),
        ("2021/03/09", at(2021, 3, 9), timedelta(1)),
        ("20210309", at(2021, 3, 9), timedelta(1)),
        ("2021-03-09T14", at(2021, 3, 9, 14), timedelta(hours=1)),
        ("2021-03-09 9:05", at(2021, 3, 9, 9, 5), timedelta(minutes=1)),
        ("2021/3/9  09:05:07", at(2021, 3, 9, 9, 5, 7), SECOND),
        ("20210309T090507Z", at(2021, 3, 9, 9, 5, 7), SECOND),
        ("20210309 0905", at(2021, 3, 9, 9, 5), timedelta(minutes=1)),
        ("20210309090507", at(2021, 3, 9, 9, 5, 7), SECOND),
        ("2021-03-09t09:05:07z", at(2021, 3, 9, 9, 5, 7), SECOND),
        ("2021-03-09 09:05:07 UTC", at(2021, 3, 9, 9, 5, 7), SECOND),
        ("2021-03-09T09:05:07.25", at(2021, 3, 9, 9, 5, 7, 250_000), SECOND / 100),
        ("2021-03-09T09:05:07,250000000", at(2021, 3, 9, 9, 5, 7, 250_000), timedelta(0)),
        ("2021-03-09T01:05:07+02:00", at(2021, 3, 8, 23, 5, 7), SECOND),
        ("2021-03-09T01:05:07+0200", at(2021, 3, 8, 23, 5, 7), SECOND),
        ("2021-03-09 01:05:07 -05", at(2021, 3, 9, 6, 5, 7), SECOND),
        ("2026-11-01 01:20:00.000000-0500", at(2026, 11, 1, 6, 20), SECOND / 10**6),
        ("2021-03-09T01:05:07+02:00[Europe/Riga]", at(2021, 3, 8, 23, 5, 7), SECOND),
        ("2021-03-09T24:00", at(2021, 3, 10), timedelta(minutes=1)),
        ("2016-12-31T23:59:60Z", at(2016, 12, 31, 23, 59, 59), SECOND),
        ("999999999", at(2001, 9, 9, 1, 46, 39), SECOND),
        ("1000000000", at(2001, 9, 9, 1, 46, 40), SECOND),
        ("1000000000.0", at(2001, 9, 9, 1, 46, 40), SECOND),
        ("1000000000.25", at(2001, 9, 9, 1, 46, 40, 250_000), SECOND / 100),
        ("1.000000000e9", at(2001, 9, 9, 1, 46, 40), SECOND),
        ("1000000000250", at(2001, 9, 9, 1, 46, 40, 250_000), SECOND / 1000),
        ("1000000000250000", at(2001, 9, 9, 1, 46, 40, 250_000), SECOND / 10**6),
        ("1000000000250000000", at(2001, 9, 9, 1, 46, 40, 250_000), timedelta(0)),
        ("-1", at(1969, 12, 31, 23, 59, 59), SECOND),
        ("0", EPOCH, SECOND),
        ("-1000", at(1969, 12, 31, 23, 43, 20), SECOND),
    ],
)
def test_a_date_is_as_long_as_it_is_exact(ts, start, length):
    assert read(ts) == (start, start + length)
    assert span(ts).start < span(ts).end


@pytest.mark.parametrize(
    "ts",
    [
        "",
        " ",
        "now",
        "nan",
        "NaT",
        "0000",
        "2021-00",
        "2021-13",
        "2021-02-29",
        "20210309253000",
        "20211309143000",
        "2021-03/09",
        "2021-03-09-05",
        "3/9/2021",
        "09.03.2021",
        "2021.3",
        "2021-03 10:00",
        "2021-03-09T",
        "2021-03-09T25:00",
        "2021-03-09T24:01",
        "2021-03-09T10:60",
        "2021-03-09T10:00:61",
        "2021-03-09T10:00+24:00",
        "2021-03-09T10:00 Europe/Riga",
        "2021-03-09T10:00[Europe/Riga]",
        "2021-03-09T905",
        "1.6e9",
        "1e999999999",
        "-0.5",
        "100000000000000000000",
        "9" * 5000,
        "٢٠٢١",
        "2021-03-09\0",
    ],
)
def test_what_is_no_date_is_refused_with_what_is_accepted(ts):
    with pytest.raises(ValueError, match="is no date that can be read: write a year"):
        span(ts)
    assert not is_date(ts)
    assert "seconds or milliseconds since 1970" in ACCEPTED


@given(st.text() | st.from_regex(r"-?[0-9./:TZ+eE -]{1,30}", fullmatch=True))
def test_any_text_is_a_date_or_refused(ts):
    try:
        start, end = span(ts)
    except ValueError:
        assert not is_date(ts)
    else:
        assert start < end


zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=zones)


@given(moments)
def test_iso_texts_are_read_as_python_reads_them(moment):
    for text in (moment.isoformat(timespec="microseconds"), moment.isoformat(" ", "microseconds")):
        assert read(text) == (moment, moment + timedelta(microseconds=1))


@given(moments)
def test_an_epoch_and_its_iso_text_are_the_same_second(moment):
    # Below that a number may be a year or a day.
    seconds = int(moment.timestamp())
    if abs(seconds) >= 10**8:
        assert span(str(seconds)) == span(datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds"))


@given(st.dates(date(1000, 1, 1)))
def test_padding_and_separators_change_nothing(day):
    plain = f"{day.year}-{day.month}-{day.day}"
    assert span(day.isoformat()) == span(plain) == span(plain.replace("-", "/"))


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
        ("2002-05-01T09:00:00", "2002-05-01T09:00:00.5", False),
        ("2002-05-01T09:00:00.4", "2002-05-01T09:00:00.5", True),
        ("2003", "2002", False),
        ("2021-10-01", "2021-3-9", False),
        ("2021-3-9", "2021-10-01", True),
        ("999999999", "1000000000", True),
        ("1000000000", "999999999", False),
        ("1000000000", "1000000000500", False),
        ("2001-09-09", "1000086400", True),
        # The hour that summer time's end repeats.
        ("2026-11-01 01:50:00-0400", "2026-11-01 01:20:00-0500", True),
        ("2026-11-01 01:20:00-0500", "2026-11-01 01:50:00-0400", False),
        (None, "2002", True),
        ("2002", None, True),
        (None, None, True),
    ],
)
def test_only_what_is_surely_older_is_before(ts, than, known):
    assert before(ts, than) is known
    assert before(ts, ts) is (ts is None)


def test_the_same_date_counts_where_it_may():
    assert before("2021-03-09", "2021-3-9", same=True)
    assert not before("2021", "2021-3-9", same=True)
    assert not before("2021-3-10", "2021-3-9", same=True)


texts = st.one_of(
    st.integers(1990, 2030).map(str),
    st.dates(date(1990, 1, 1), date(2030, 1, 1)).map(str),
    st.dates(date(1990, 1, 1), date(2030, 1, 1)).map(lambda day: f"{day.year}/{day.month}"),
    st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1), timezones=zones).map(str),
    st.integers(7 * 10**8, 2 * 10**9).map(str),
    st.integers(7 * 10**11, 2 * 10**12).map(str),
)


@given(first=texts, second=texts, third=texts)
def test_before_is_an_order(first, second, third):
    assert not before(first, first)
    assert not (before(first, second) and before(second, first))
    if before(first, second) and before(second, third):
        assert before(first, third)


@given(ts=texts, than=texts | st.none())
def test_what_others_dated_is_before_as_ones_own_is(ts, than):
    assert surely_before(ts, than) is before(ts, than)


def test_what_others_did_not_date_is_before_nothing_that_is_dated():
    assert not surely_before(None, "2002")
    assert surely_before(None, None)


@given(st.lists(texts | st.none()))
def test_things_are_ordered_around_those_without_a_date(stamps):
    things = list(enumerate(stamps))
    ordered = in_order(things, lambda thing: thing[1])
    assert sorted(ordered, key=lambda thing: thing[0]) == things
    assert [place for place, thing in enumerate(ordered) if thing[1] is None] == [
        place for place, ts in enumerate(stamps) if ts is None
    ]
    dated = [(span(ts), place) for place, ts in ordered if ts is not None]
    # Equal dates as they came.
    assert dated == sorted(dated)


def test_the_first_and_the_last_date_are_those_of_time():
    stamps = ["2021-10-01", None, "2021-3-9", "1000000000"]
    assert latest(stamps) == "2021-10-01"
    assert earliest(stamps) == "1000000000"
    assert latest([None]) is earliest([]) is None


def test_what_a_store_holds_that_is_no_date_is_unknown_and_said_once(caplog):
    with caplog.at_level(logging.WARNING):
        assert before("long ago", "2021")
        assert before("2021", "long ago")
        assert not surely_before("long ago", "2021")
        assert in_order(["2022", "long ago", "2021"], str) == ["2021", "long ago", "2022"]
        assert latest(["long ago", "2021"]) == earliest(["long ago", "2021"]) == "2021"
    assert caplog.messages == ["a date cannot be read and counts as unknown: 'long ago'"]


@pytest.mark.parametrize(
    ("stamps", "found"),
    [
        (["998", "999", "1000"], ("998", "1000")),
        (["2021-01-01", "5"], ("5", "2021-01-01")),
        (["20210101", "20210001"], ("20210001", "20210101")),
        (["5", "17", "123"], None),
        (["2001", "2021-01-01", "1000000000", "-1000000000"], None),
        (["0", "1000000000"], None),
        ([], None),
    ],
)
def test_a_numbering_that_reads_half_as_years_is_found(stamps, found):
    assert numbered_and_written(stamps) == found
