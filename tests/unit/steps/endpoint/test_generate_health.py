"""When an endpoint wants to be asked again."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

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


def test_retry_after_may_be_a_date():
    later = datetime.now(UTC) + timedelta(hours=1)
    # Dates have whole seconds, and a slow machine takes its time between the lines.
    assert 3500 < retry_after({"retry-after": format_datetime(later, usegmt=True)}) <= 3600


def test_an_endpoint_is_left_alone_for_as_long_as_it_said_last_and_longest():
    health = Health()
    assert health.closed_for() == 0
    health.close_for(50)
    health.close_for(1)
    assert 40 < health.closed_for() <= 50
    # Nobody is left alone for ever.
    health.close_for(1e9)
    assert 3500 < health.closed_for() <= 3600
