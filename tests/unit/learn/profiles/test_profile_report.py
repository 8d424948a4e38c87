"""Profiles that the LLM did not write: what is kept, counted and tried again."""

from collections import Counter

import pytest

from hydra_ray.data.dataset import User
from hydra_ray.learn.profiles.job import ProfileReport, _keep
from hydra_ray.learn.profiles.pipeline import Written
from hydra_ray.records import UserKey
from hydra_ray.steps.generate.failures import Failure, UnfinishedError
from hydra_ray.store.types import ProfileFingerprint, UserProfile

DOWN = Written(failure=Failure("server", "HTTP 503"))
REFUSED = Written(failure=Failure("filtered", "not this one"))
GOOD = Written(UserProfile("pag", "likes dogs", ProfileFingerprint("how", "what", 1)))


class Kept:
    """A store that remembers whose profiles it was given."""

    def __init__(self):
        self.users = []

    def put_profiles(self, profiles):
        users = [key.user for key, _ in profiles]
        self.users += users
        return len(users)


def keep(*written, kept=0):
    store = Kept()
    todo = [("pag", User(UserKey("acme", f"u{place}"), ())) for place in range(len(written))]
    batches = [[place] for place in enumerate(written)]
    try:
        return _keep(todo, batches, store, ProfileReport(kept=kept), lambda report: None, 0.5), store.users
    except UnfinishedError as error:
        return error, store.users


def test_what_failed_for_now_is_unfinished_and_the_rest_is_kept():
    report, kept = keep(GOOD, DOWN, GOOD)
    assert kept == ["u0", "u2"]
    assert "1 profiles failed: 1 server (HTTP 503). The same command tries again" in str(report)
    with pytest.raises(UnfinishedError, match=r"1 profiles were not written: 1 server"):
        report.check()


def test_refusals_are_counted_apart_and_leave_nothing_to_do():
    report, _ = keep(GOOD, REFUSED)
    assert "would not write 1 profiles: 1 filtered (not this one)" in str(report)
    report.check()


def test_a_generator_that_is_down_stops_and_keeps_what_was_written():
    error, kept = keep(GOOD, *[DOWN] * 100)
    assert "stopped early: 31 of the latest 32 requests failed" in str(error)
    assert "1 profiles were written and are kept" in str(error)
    assert kept == ["u0"]


@pytest.mark.parametrize("kept", [0, 5])
def test_nothing_but_refusals_is_the_endpoints_fault_unless_it_wrote_before(kept):
    found, _ = keep(REFUSED, REFUSED, kept=kept)
    assert isinstance(found, ProfileReport if kept else UnfinishedError)


def test_what_could_be_read_and_whose_profiles_name_differences_is_told():
    fingerprint = ProfileFingerprint("how", "what", 1)
    apart = Written(UserProfile("dpl", "unlike others", fingerprint), read=Counter(at_once=3, again=1))
    alone = Written(UserProfile("dpl", "likes dogs", fingerprint, degraded=True), read=Counter(never=4))
    report, _ = keep(GOOD, apart, alone)
    assert (report.comparing, report.degraded) == (2, 1)
    assert "1 of 2 profiles of kind dpl name differences from others, the rest fell back to pag's." in str(report)
    told = "Of 8 answers about an item's differences 4 could be read (50%), 1 of them when asked again."
    assert told in str(report)
    assert "differences" not in str(keep(GOOD)[0])
