"""Profiles of many users by Ray Data: written once each, kept while they do, and made of the right people's texts."""

import json
import re

import pytest
from film_records import write_films
from openai_endpoint import Server, completion, serving

from hydra_ray.learn.profiles.job import write_profiles
from hydra_ray.progress import SILENT
from hydra_ray.records import HydraError, UserKey
from hydra_ray.settings import parse_settings
from hydra_ray.steps.generate.failures import UnfinishedError
from hydra_ray.store.backends import open_store

USERS, FILMS = 4, 3


def reply(asked: dict) -> dict:
    """Tells whose answers it was shown: each user writes in a colour of their own."""
    content = asked["messages"][-1]["content"]
    if "The others:" in content:
        own, others = (sorted(set(re.findall(r"colour\d", part))) for part in content.split("The others:"))
        return completion(json.dumps({"writing": f"{own} unlike {others}", "emotional": "calm", "semantic": "plain"}))
    return completion(
        f"{'apart' if 'Differences:' in content else 'alone'}: {sorted(set(re.findall('colour.', content)))}"
    )


@pytest.fixture
def server():
    with serving() as server:
        server.replies = [reply]
        yield server


@pytest.fixture
def tree(server: Server, tmp_path) -> dict:
    """Everybody writes of the same films, in their own colour; the last film of each is a query."""
    path = write_films(
        tmp_path,
        USERS,
        range(FILMS + 1),
        lambda user, film: (f"film {film}", f"colour{user} all over"),
        item_id=lambda film: f"f{film}",
    )
    return {
        "out": str(tmp_path / "out"),
        "data": {
            "format": "records",
            "path": path,
            "queries_per_user": 1,
            "dev_share": 0.01,
        },
        "generator": {"backend": "openai", "model": "m", "base_url": server.url, "retries": 0, "timeout_s": 30},
        "peers": {"tenants": ["default"]},
        "users": "train",
    }


def write(tree, *kinds):
    return write_profiles(parse_settings(tree), SILENT, kinds)


@pytest.mark.usefixtures("ray_cluster")
def test_profiles_are_written_once_from_the_right_texts_and_again_when_settings_change(tree, server):
    report = write(tree, "pag", "dpl")
    assert (report.written, report.kept, report.failed, report.degraded) == (2 * USERS, 0, {}, 0)
    # One call for pag; for dpl one an item and a summary.
    assert report.usage.calls == len(server.asked) == USERS * (1 + FILMS + 1)
    store = open_store(parse_settings(tree).store_target)
    keys = [UserKey("default", f"u{user}") for user in range(USERS)]
    for user, key in enumerate(keys):
        assert store.profile(key, "pag").text == f"alone: ['colour{user}']"
        profile = store.profile(key, "dpl")
        assert profile.text == f"apart: {[f'colour{other}' for other in range(USERS)]}"
        assert profile.peers == tuple(other for other in keys if other != key)
        assert profile.fingerprint.seen == FILMS
    again = write(tree, "pag", "dpl")
    assert (again.written, again.kept) == (0, 2 * USERS)
    asked = len(server.asked)
    assert asked == report.usage.calls

    # Nobody's texts are read any more: only what was made with them is written anew.
    closed = write({**tree, "peers": {"tenants": []}}, "pag", "dpl")
    assert (closed.written, closed.kept, closed.degraded) == (USERS, USERS, USERS)
    # What is asked now was asked for pag.
    assert (closed.usage.calls, closed.usage.cached, len(server.asked)) == (0, USERS, asked)
    assert store.profile(keys[2], "dpl").text == "alone: ['colour2']"
    store.close()


@pytest.mark.usefixtures("ray_cluster")
def test_a_generator_that_is_down_stops_the_command_and_a_spent_budget_ends_it_early(tree, server):
    server.replies = [(500, {"error": {"message": "out of order"}})]
    with pytest.raises(UnfinishedError, match=r"4 server \(most often: .*out of order"):
        write(tree, "pag")
    server.replies = [reply]
    report = write({**tree, "generator": {**tree["generator"], "limits": {"calls": 1}}}, "pag")
    assert (report.written, report.left, report.failed) == (1, USERS - 1, {})
    assert "generator.limits.calls" in report.stopped
    assert write(tree, "pag").written == USERS - 1


def test_an_unknown_kind_is_refused(tree):
    with pytest.raises(HydraError, match="no kind of profile 'gap'"):
        write(tree, "gap")
