"""When an endpoint wants to be asked again."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from clocks import Clock

from hydra_ray.steps.generate.endpoint import health
from hydra_ray.steps.generate.endpoint.health import Health, retry_after


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "-1"}, 0),
        ({"retry-after": "inf"}, 0),
        ({"retry-after-ms": "nan"}, 0),
        ({"retry-after": "soon"}, 0),
        ({"retry-after-ms": "soon"}, 0),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
    ],
)
def test_what_retry_after_says(headers, seconds):
    assert retry_after(headers) == seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock(1_800_000_000.0)
    monkeypatch.setattr(health, "time", clock)
    return clock


def test_retry_after_may_be_a_date(clock):
    later = datetime.fromtimestamp(clock.now, UTC) + timedelta(hours=1)
    assert retry_after({"retry-after": format_datetime(later, usegmt=True)}) == 3600


def test_an_endpoint_is_left_alone_for_as_long_as_it_said_last_and_longest(clock):
    endpoint = Health()
    assert endpoint.closed_for() == 0
    endpoint.close_for(50)
    endpoint.close_for(1)
    assert endpoint.closed_for() == 50
    clock.now += 20
    assert endpoint.closed_for() == 30
    # Nobody is left alone for ever.
    endpoint.close_for(1e9)
    assert endpoint.closed_for() == health.MAX_CLOSED_S
