"""Arms: the same for a user everywhere, by the shares that settings say, and none where nobody asks."""

from collections import Counter

import pytest

from hydra_ray.records import HydraError, UserKey
from hydra_ray.serve.experiment.assignments import NOT_IN_IT, Assignments, read_key
from hydra_ray.settings import parse_settings

KEY = b"sixteen bytes or more"
USERS = [UserKey("acme", f"u{number}") for number in range(4000)]


def experiment(**settings):
    tree = {"name": "spring", "key_env": "HYDRA_TEST_EXPERIMENT_KEY", **settings}
    return parse_settings({"serve": {"experiment": tree}}).serve.experiment


def arms_of(drawn, users=USERS):
    return {user: drawn.of(user, "c").arm for user in users}


def test_a_user_has_the_same_arm_on_every_replica_and_shares_are_kept():
    settings = experiment(arms={"cheap": {"share": 0.3, "method": "rag"}}, holdout=0.2)
    first, second = (arms_of(Assignments(settings, KEY)) for _ in range(2))
    assert first == second
    shares = {arm: count / len(USERS) for arm, count in Counter(first.values()).items()}
    assert shares == {
        name: pytest.approx(share, abs=0.03) for name, share in {"cheap": 0.3, "holdout": 0.2, "default": 0.5}.items()
    }


def test_the_arm_says_how_the_request_is_answered():
    settings = experiment(
        arms={
            "cheap": {"share": 0.4, "method": "rag", "version": "candidate"},
            "flat": {"share": 0.3, "head": "shared"},
        },
        holdout=0.1,
    )
    drawn = {one.arm: one for one in (Assignments(settings, KEY).of(user, "c") for user in USERS)}
    assert (drawn["cheap"].method, drawn["cheap"].version, drawn["cheap"].propensity) == ("rag", "candidate", 0.4)
    assert (drawn["cheap"].personal, drawn["cheap"].own_head) == (True, True)
    assert (drawn["flat"].personal, drawn["flat"].own_head, drawn["flat"].method) == (True, False, None)
    assert (drawn["holdout"].personal, drawn["holdout"].propensity) == (False, 0.1)
    assert (drawn["default"].personal, drawn["default"].own_head) == (True, True)
    assert drawn["default"].propensity == pytest.approx(0.2)


def test_an_arm_that_is_off_is_not_personalised_though_yaml_reads_off_as_false():
    drawn = Assignments(experiment(arms={"none": {"share": 1, "head": False}}), KEY).of(USERS[0], "c")
    assert (drawn.arm, drawn.personal) == ("none", False)


def test_arms_that_take_everybody_leave_no_default():
    settings = experiment(arms={name: {"share": 1 / 3} for name in "abc"})
    assert set(arms_of(Assignments(settings, KEY)).values()) == {"a", "b", "c"}


def test_an_arm_that_is_added_takes_its_users_from_the_default_alone():
    before = arms_of(Assignments(experiment(arms={"a": {"share": 0.2}, "b": {"share": 0.2}}), KEY))
    after = arms_of(Assignments(experiment(arms={"a": {"share": 0.2}, "b": {"share": 0.2}, "c": {"share": 0.2}}), KEY))
    moved = [(before[user], after[user]) for user in USERS if before[user] != after[user]]
    assert moved
    assert set(moved) == {("default", "c")}


def test_another_name_draws_arms_anew_but_the_holdout_stays_the_same_people():
    arms = {"a": {"share": 0.4}}
    first = arms_of(Assignments(experiment(arms=arms, holdout=0.2), KEY))
    second = arms_of(Assignments(experiment(name="autumn", arms=arms, holdout=0.2), KEY))
    assert [first[user] == "holdout" for user in USERS] == [second[user] == "holdout" for user in USERS]
    assert (
        0.3
        < sum(first[user] == second[user] == "a" for user in USERS) / sum(arm == "a" for arm in first.values())
        < 0.7
    )


def test_without_the_key_nobody_can_tell_an_arm():
    settings = experiment(arms={"a": {"share": 0.5}})
    mine, guessed = (arms_of(Assignments(settings, key)) for key in (KEY, b"another key of this length"))
    assert 0.4 < sum(mine[user] == guessed[user] for user in USERS) / len(USERS) < 0.6


def test_tenants_of_the_same_user_name_are_drawn_apart():
    drawn = Assignments(experiment(arms={"a": {"share": 0.5}}), KEY)
    same = [drawn.of(user, "c").arm == drawn.of(UserKey("zeta", user.user), "c").arm for user in USERS]
    assert 0.4 < sum(same) / len(same) < 0.6


def test_by_request_each_has_its_own_arm_and_the_holdout_stays_by_user():
    drawn = Assignments(experiment(by="request", arms={"a": {"share": 0.4}}, holdout=0.2), KEY)
    arms = {user: {drawn.of(user, f"c{number}").arm for number in range(20)} for user in USERS[:200]}
    assert {frozenset(found) for found in arms.values()} == {frozenset({"holdout"}), frozenset({"a", "default"})}


def test_nobody_is_in_no_experiment_and_without_a_name_there_is_none():
    assert Assignments(experiment(arms={"a": {"share": 1}}), KEY).of(None, "c") == NOT_IN_IT
    assert Assignments(parse_settings({}).serve.experiment, b"").of(USERS[0], "c") == NOT_IN_IT


def test_the_secret_is_read_from_file_or_environment(tmp_path, monkeypatch):
    path = tmp_path / "key"
    path.write_bytes(KEY + b"\n")
    assert read_key(experiment(key_env=None, key_file=str(path), holdout=0.1)) == KEY
    monkeypatch.setenv("HYDRA_TEST_EXPERIMENT_KEY", KEY.decode())
    assert read_key(experiment(holdout=0.1)) == KEY
    assert read_key(parse_settings({}).serve.experiment) == b""


def test_a_secret_that_cannot_be_used_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("HYDRA_TEST_EXPERIMENT_KEY", raising=False)
    with pytest.raises(HydraError, match=r"serve\.experiment\.key_env: HYDRA_TEST_EXPERIMENT_KEY is not set"):
        read_key(experiment(holdout=0.1))
    monkeypatch.setenv("HYDRA_TEST_EXPERIMENT_KEY", "short")
    with pytest.raises(HydraError, match="holds 5 bytes: a secret has 16 or more"):
        read_key(experiment(holdout=0.1))
    with pytest.raises(HydraError, match=r"serve\.experiment\.key_file: .*nothing cannot be read"):
        read_key(experiment(key_env=None, key_file=str(tmp_path / "nothing"), holdout=0.1))
