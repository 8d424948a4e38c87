"""What each query of dated records may see."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from defaults import split_of
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.data.errors import DataError
from hydra_ray.data.split import Record
from hydra_ray.dates import span

SPLIT = split_of("train", queries_per_user=2, dev_share=1e-9, seed=0)

moments = st.datetimes(datetime(2020, 1, 1), datetime(2021, 6, 1), timezones=st.just(UTC))
FORMS = (
    lambda m: f"{m.year}",
    lambda m: f"{m.year}-{m.month}",
    lambda m: f"{m.year}/{m.month}/{m.day}",
    lambda m: m.strftime("%Y%m%d"),
    lambda m: m.astimezone(timezone(timedelta(hours=-9))).isoformat(timespec="seconds"),
    lambda m: m.astimezone(timezone(timedelta(hours=5, minutes=30))).strftime("%Y-%m-%d %H:%M:%S%z"),
    lambda m: str(int(m.timestamp())),
    lambda m: str(int(m.timestamp() * 1000)),
)
dates = st.builds(lambda form, moment: form(moment), st.sampled_from(FORMS), moments)


@given(stamps=st.lists(dates, max_size=12), queries=st.integers(1, 4))
def test_no_query_sees_what_ends_after_it_begins(stamps, queries):
    split = split_of("train", queries_per_user=queries, dev_share=1e-9)
    data = split.dataset({"u": [Record(f"in {place}", f"out {place}", ts) for place, ts in enumerate(stamps)]})
    (user,) = data.users
    assert len(user.history) + len(user.queries) == len(stamps)
    starts = [span(part.ts).start for part in (*user.history, *user.queries)]
    assert starts == sorted(starts)
    for query in user.queries:
        seen = data.history(user, query)
        assert all(span(item.ts).end <= span(query.ts).start for item in seen)
        hidden = [item for item in user.history if item not in seen]
        assert all(span(item.ts).end > span(query.ts).start for item in hidden)


def test_records_are_ordered_by_time_whatever_way_it_is_written():
    stamps = ["2021-3-9", "1615120000", "2021-03-08T23:00:00-05:00", "2021/03/06", "2021-03-10"]
    data = SPLIT.dataset({"u": [Record(ts, ts, ts) for ts in stamps]})
    (user,) = data.users
    assert [item.ts for item in user.history] == ["2021/03/06", "1615120000", "2021-3-9"]
    assert [query.ts for query in user.queries] == ["2021-03-08T23:00:00-05:00", "2021-03-10"]
    # It was said on that day in UTC.
    assert [item.ts for item in data.history(user, user.queries[0])] == ["2021/03/06", "1615120000"]


def test_a_numbering_that_reads_half_as_years_is_refused():
    with pytest.raises(DataError, match=r'^user "u" has the dates "999", which counts seconds from 1970, and "1000"'):
        SPLIT.dataset({"u": [Record(str(n), str(n), str(n)) for n in range(999, 1002)]})


def test_what_is_told_twice_is_left_out_and_counted():
    records = [
        Record("a", "b", ts, place=f"line {n}") for n, ts in enumerate(("2021", "2021", "2021-01-01", "2020"), 1)
    ]
    data = SPLIT.dataset({"u": records})
    (user,) = data.users
    assert [part.ts for part in (*user.history, *user.queries)] == ["2020", "2021-01-01", "2021"]
    assert dict(data.left_out.counts) == {"the same record again": 1}
    assert data.left_out.examples == {"the same record again": ["line 2"]}
