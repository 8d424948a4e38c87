"""The report of an online experiment: by tenant and cohort, as tables, JSON and a page."""

import io
import json

import numpy as np
import pytest
from logged_completions import accepts, completion
from rich.console import Console

from hydra_ray.experiment.logged import Logged
from hydra_ray.experiment.online import cohort_of, online_report
from hydra_ray.experiment.reporting.page import render
from hydra_ray.experiment.reporting.tables import online_tables
from hydra_ray.records import HydraError, UserKey
from hydra_ray.steps.generate.prices import Prices

OPTIONS = {
    "against": None, "since_s": 0.0, "until_s": 10_000.0, "effect": 0.1, "resamples": 100, "seed": 0,
    "by_cohort": False,
}  # fmt: skip


def logged(users=400, effect=0.4, tenants=("acme",), arms=("holdout", "new")):
    """Completions of users who accept more in the last arm."""
    rng, found = np.random.default_rng(3), Logged("spring", "thumbs", Prices(1, 1))
    for tenant in tenants:
        for user in range(users):
            arm = arms[user % len(arms)]
            takes = 0.3 + effect * (arm == arms[-1])
            found.add(
                completion(f"{user}-{n}", f"u{user}", f"spring/{arm}", accepts(rng.random() < takes), tenant)
                for n in range(3)
            )
    return found


def report(found, amounts=None, **options):
    return online_report(found, amounts or {}, **{**OPTIONS, **options})


def of_measure(part, measure):
    return next(one for one in part.comparisons if one.measure == measure)


def printed(found):
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(*online_tables(found))
    return console.export_text()


def test_an_effect_is_told_with_its_interval_and_p():
    (part,) = report(logged()).slices
    assert (part.tenant, part.users, part.completions) == ("acme", 400, 1200)
    found = of_measure(part, "accepted")
    assert (found.arm, found.against) == ("new", "holdout")
    assert 0.3 < found.difference.low < found.difference.value < found.difference.high
    assert found.p < 1e-6


def test_tenants_are_reported_apart_and_together():
    slices = report(logged(users=200, tenants=("acme", "zeta"))).slices
    assert [(one.tenant, one.users) for one in slices] == [("", 400), ("acme", 200), ("zeta", 200)]


def test_cohorts_are_of_the_amount_of_history_before():
    amounts = {UserKey("acme", f"u{user}"): 20 for user in range(100)}
    slices = report(logged(users=200), amounts, by_cohort=True).slices
    assert [(one.cohort, one.users) for one in slices] == [("", 200), ("no history", 100), ("10 to 49 items", 100)]
    assert [cohort_of(items) for items in (0, 1, 9, 10, 49, 50)] == [
        "no history", "1 to 9 items", "1 to 9 items", "10 to 49 items", "10 to 49 items", "50 items or more",
    ]  # fmt: skip


def test_too_few_users_say_nothing_and_json_holds_it():
    found = report(logged(users=40))
    assert "too little to say: 20 users in new, of 50" in printed(found)
    plain = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    one = plain["slices"][0]["comparisons"][0]
    assert (one["p"], one["low"], one["difference"]["high"]) == (1.0, None, None)
    assert one["too_little"] == "20 users in new, of 50"


def test_the_table_says_what_is_better_and_since_when():
    text = printed(report(logged()))
    assert "spring: tenant acme, 400 users, 1,200 answers" in text
    assert "< 0.001" in text
    assert "From 1970-01-01T00:00+00:00" in text
    assert "too little to say: 0 users with any in new, of 10" in text


def test_without_a_holdout_the_default_is_compared_with_and_any_arm_by_name():
    found = logged(arms=("default", "new"))
    assert report(found).against == "default"
    assert report(found, against="new").against == "new"
    with pytest.raises(HydraError, match=r"--against: nobody was in arm 'old' in this time; there are default, new"):
        report(found, against="old")


def test_no_completion_is_an_error_that_says_where_to_look():
    with pytest.raises(HydraError, match="experiment 'spring' has no completion in this time"):
        report(Logged("spring", "thumbs", Prices(0, 0)))


def test_the_page_holds_the_table_and_names_are_escaped():
    page = render(report(logged(arms=("default", "<b>new"))))
    assert "&lt;b&gt;new" in page
    assert "<b>new" not in page
    assert 'class="better"' in page
    assert "accepted_of_rated" in page


def test_it_says_how_many_requests_were_left_out_of_each_arm():
    found = logged(users=100)
    assert "Left out" not in printed(report(found))
    found.add(completion(f"x{n}", "u1", "spring/new", passed_for="form") for n in range(50))
    told = report(found)
    assert told.as_dict()["left_out"] == {"holdout": 0, "new": 50}
    assert told.slices[0].completions == 300
    assert "0.0 % of holdout (0), 25.0 % of new (50)" in " ".join(printed(told).split())
    assert "25.0 % of new (50)" in render(told)


def test_an_arm_of_which_nothing_is_left_is_told():
    found = logged(users=100)
    found.add(completion(f"y{n}", "u2", "spring/tools", passed_for="form") for n in range(5))
    told = report(found)
    assert told.as_dict()["left_out"] == {"holdout": 0, "new": 0, "tools": 5}
    assert "0.0 % of new (0), 100.0 % of tools (5)" in " ".join(printed(told).split())
    with pytest.raises(HydraError, match="--against: all requests were left out of arm 'tools'"):
        report(found, against="tools")


def test_where_nothing_is_left_that_is_said():
    found = Logged("spring", "thumbs", Prices(0, 0))
    found.add(completion(f"y{n}", "u2", "spring/tools", passed_for="form") for n in range(5))
    with pytest.raises(HydraError, match="nothing to compare in this time: all 5 completions are left out"):
        report(found)
