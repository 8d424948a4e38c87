"""Quotas by the minute and by the day, counted by a clock of the test's own."""

import pytest
from clocks import Clock
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.records import UserKey
from hydra_ray.serve.limits.quotas import NO_LIMIT, Limited, Quotas, subject_of
from hydra_ray.store.identity.usage import Used

# Noon of a day of UTC.
NOON = 20_000 * 86_400 + 43_200.0


def limited(name="acme", kind="tenant", **quota):
    return Limited(f"{kind}:{name}", kind, NO_LIMIT._replace(**quota))


@pytest.fixture
def clock():
    return Clock(NOON)


@pytest.fixture
def quotas(clock):
    return Quotas(clock.time, {})


def passed(quotas, many, *subjects):
    return sum(quotas.admit(subjects).refused is None for _ in range(many))


def test_so_many_requests_pass_as_the_quota_says(quotas, clock):
    acme = limited(requests_per_minute=100)
    assert passed(quotas, 1_000, acme) == 100
    refused = quotas.admit([acme])
    assert (refused.refused, refused.kind, refused.per) == ("requests", "tenant", "minute")
    clock.now += refused.wait_s - 0.001
    assert passed(quotas, 1_000, acme) == 0
    clock.now += 0.001
    assert passed(quotas, 1_000, acme) == 100


@given(st.lists(st.floats(0, 20), max_size=60))
def test_no_minute_has_more_than_the_quota(pauses):
    clock = Clock(NOON + 0.5)
    quotas, acme, when = Quotas(clock.time, {}), limited(requests_per_minute=5), []
    for pause in pauses:
        clock.now += pause
        if quotas.admit([acme]).refused is None:
            when.append(clock.now)
    assert all(later - earlier >= 60 for earlier, later in zip(when, when[5:], strict=False))


def test_a_refused_request_counts_for_nobody(quotas):
    acme, ann = limited(requests_per_minute=10), limited("ann", "user", requests_per_minute=3)
    assert passed(quotas, 50, acme, ann) == 3
    assert quotas.admit([acme, ann]).kind == "user"
    assert passed(quotas, 50, acme, limited("bob", "user", requests_per_minute=100)) == 7


def test_tokens_count_once_the_answer_is_there(quotas, clock):
    acme = limited(tokens_per_minute=100)
    assert passed(quotas, 3, acme) == 3
    quotas.charge([acme], 60)
    clock.now += 30
    assert quotas.admit([acme]).levels["tokens"].left == 40
    quotas.charge([acme], 50)
    refused = quotas.admit([acme])
    assert (refused.refused, refused.per) == ("tokens", "minute")
    # The first sixty are enough.
    assert 29 < refused.wait_s <= 31
    clock.now += refused.wait_s
    assert quotas.admit([acme]).refused is None


@pytest.mark.parametrize("what", ["requests", "tokens"])
def test_a_day_ends_at_midnight(quotas, clock, what):
    acme = limited(**{f"{what}_per_day": 2})
    for _ in range(2):
        assert quotas.admit([acme]).refused is None
        quotas.charge([acme], 1)
        clock.now += 3600
    refused = quotas.admit([acme])
    assert (refused.refused, refused.per, refused.wait_s) == (what, "day", 10 * 3600)
    clock.now += refused.wait_s
    assert quotas.admit([acme]).refused is None


def test_a_restart_forgets_nothing_of_the_day_that_was_kept(quotas, clock):
    acme, ann = limited(requests_per_day=5, tokens_per_day=1_000), limited("ann", "user", requests_per_minute=9)
    assert passed(quotas, 3, acme, ann) == 3
    quotas.charge([acme, ann], 30)
    day, used = quotas.take_changes()
    # What has quotas a minute only need not be kept.
    assert (day, used) == ("2024-10-04", {"tenant:acme": Used(3, 30)})
    assert quotas.take_changes()[1] == {}
    again = Quotas(clock.time, used)
    assert again.admit([acme]).levels["tokens"].left == 970
    assert passed(again, 10, acme) == 1
    clock.now += 86_400
    assert passed(again, 10, acme) == 5


def test_counts_that_could_not_be_kept_are_told_again(quotas):
    assert passed(quotas, 2, limited(requests_per_day=5)) == 2
    _, used = quotas.take_changes()
    quotas.put_back(used)
    assert quotas.take_changes()[1] == {"tenant:acme": Used(2, 0)}


def test_levels_tell_of_what_is_nearest_to_its_end(quotas):
    acme, ann = limited(requests_per_minute=10, requests_per_day=1_000), limited("ann", "user", requests_per_minute=3)
    level = quotas.admit([acme, ann]).levels["requests"]
    assert (level.limit, level.left, 60 < level.reset_s <= 61) == (3, 2, True)
    assert quotas.admit([acme]).levels.keys() == {"requests"}


def test_a_users_counter_has_no_name_in_it_and_is_one_tenants():
    ann, other = subject_of("user", UserKey("acme", "ann")), subject_of("user", UserKey("zeta", "ann"))
    assert ann != other
    assert "ann" not in ann
    # No pair of names runs together.
    assert subject_of("user", UserKey("a", "bc")) != subject_of("user", UserKey("ab", "c"))
    assert subject_of("key", "key_1") == "key:key_1"


@pytest.mark.parametrize("jump_s", [-7200.0, -3600.0 * 24 * 400, 7200.0])
def test_a_clock_that_jumps_shuts_nobody_out_for_longer_than_a_minute(quotas, clock, jump_s):
    acme = limited(requests_per_minute=5)
    assert passed(quotas, 9, acme) == 5
    clock.now += jump_s
    assert passed(quotas, 9, acme) == 5
    refused = quotas.admit([acme])
    assert 0 < refused.wait_s <= 61
