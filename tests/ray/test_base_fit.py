"""Ray Train fits the base: any number of workers, and on after a killed one."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from hydra_ray.learn.base.progress import TrainState
from hydra_ray.learn.base.trainer import fit_base
from hydra_ray.learn.collect.rows import ExampleKey
from hydra_ray.learn.examples.groups import RankingGroup
from hydra_ray.models.precision import PRECISIONS
from hydra_ray.records import HydraError, UserKey
from hydra_ray.settings import BaseSettings

FILMS = ("a shy robot", "a cursed mill", "two rivals at sea", "the last train", "a lost violin", "snow in June")
LEARNT = {"reranker": None, "adapter": None}


def taste_groups(users: int, films: int = 6) -> list[RankingGroup]:
    """Even users prefer "funny", odd ones "scary", whatever the film."""
    return [
        RankingGroup(
            ExampleKey("t", f"u{user}", film, pseudo=False),
            (("funny", film, ()), ("scary", film, ()), ("dull", film, ())),
            (float(user % 2 == 0), float(user % 2), 0.0),
        )
        for user in range(users)
        for film in FILMS[:films]
    ]


def base_settings(encoder_path: Path, precision: str = "float32", **changes: object) -> BaseSettings:
    return BaseSettings.model_validate(
        {
            "encoder": {"name": str(encoder_path), "max_tokens": 32, "precision": precision, "trained_layers": None},
            "batch_groups": 8,
            "lr": 1e-3,
            "head_lr": 2e-2,
            "user_drop": 0.2,
            **changes,
        }
    )


@pytest.mark.usefixtures("ray_cluster")
def test_two_workers_fit_shared_and_user_heads(tiny_encoder: Path, tmp_path: Path):
    groups = taste_groups(users=8)
    fitted = fit_base(
        {"adapter": groups},
        base_settings(tiny_encoder, workers=2, epochs=6, precision="auto"),
        prior_weights={"reranker": 1.0, "adapter": 0.25},
        seed=1,
        storage=tmp_path,
        show=lambda state, steps: None,
    )

    # What suits the first worker is what all compute in; what the driver finds out may be something else.
    (precision,) = {epoch["precision"] for epoch in fitted.state.epochs}
    assert precision in PRECISIONS
    assert fitted.roles["adapter"].scorer.trained_in == precision
    assert fitted.roles["adapter"].scorer.encoder.computing.precision == "auto"
    assert sorted(fitted.state.pids) == [0, 1], "two workers took part"
    assert len(set(fitted.state.pids.values())) == 2
    assert [epoch["epoch"] for epoch in fitted.state.epochs] == list(range(6))
    assert fitted.state.epochs[-1]["loss"] < 0.8 * fitted.state.epochs[0]["loss"]
    adapter = fitted.roles["adapter"]
    assert adapter.scorer.heads.prior == 0.25, "as it was told, and not learnt"
    choices = [("funny", "a new film", ()), ("scary", "a new film", ())]
    for user, preferred in (("u0", 0), ("u1", 1)):
        head = adapter.heads[UserKey("t", user)]
        assert int(adapter.scorer.score(choices, [head, head]).argmax()) == preferred
    dull = adapter.scorer.score([*choices, ("dull", "a new film", ())], [None] * 3)
    assert int(dull.argmin()) == 2, "the shared head alone knows what everybody dislikes"
    assert not list(tmp_path.iterdir()), "checkpoints are gone once the fit is done"


@pytest.mark.usefixtures("ray_cluster")
def test_workers_that_hold_shares_of_the_encoder_fit_a_whole_base(tiny_encoder: Path, tmp_path: Path):
    fitted = fit_base(
        {"adapter": taste_groups(users=8)},
        base_settings(tiny_encoder, workers=2, epochs=2, sharded=True, accumulate=2),
        prior_weights=LEARNT,
        seed=1,
        storage=tmp_path,
        show=lambda state, steps: None,
    )
    adapter = fitted.roles["adapter"]
    assert fitted.state.epochs[-1]["loss"] < fitted.state.epochs[0]["loss"]
    assert "valid_top1" in fitted.state.epochs[-1]
    assert adapter.scorer.score([("funny", "a new film", ())], [adapter.heads[UserKey("t", "u0")]]).isfinite().all()


@pytest.mark.usefixtures("ray_cluster")
def test_a_killed_worker_is_replaced_and_training_goes_on_from_the_checkpoint(tiny_encoder: Path, tmp_path: Path):
    """It dies in the second role: what the first one learnt is in the checkpoint, too."""
    killed: list[int] = []

    def kill_once(state: TrainState, steps: Mapping[str, int]) -> None:
        if not killed and state.role == "reranker" and state.epoch >= 2 and state.step >= 1:
            killed.append(state.epoch)
            os.kill(state.pids[1], signal.SIGKILL)

    fitted = fit_base(
        {"adapter": taste_groups(users=8), "reranker": taste_groups(users=40)},
        base_settings(tiny_encoder, workers=2, epochs=6, batch_groups=2),
        prior_weights=LEARNT,
        seed=1,
        storage=tmp_path,
        show=kill_once,
    )

    assert killed, "the test never got to kill a worker"
    assert [epoch for role, epoch in fitted.state.entered if role == "adapter"] == list(range(6))
    entered = [epoch for role, epoch in fitted.state.entered if role == "reranker"]
    again = next(i for i in range(1, len(entered)) if entered[i] <= entered[i - 1])
    # Ray Train's controller may not have taken in the last report yet, but never more than that one.
    assert entered[again - 1] - 1 <= entered[again] <= entered[again - 1], "no older epoch is repeated"
    assert sorted(set(entered)) == list(range(6))
    last = fitted.state.epochs[-1]
    assert (last["role"], last["epoch"]) == ("reranker", 5)
    assert last["started_at_epoch"] == entered[again] > 0
    for role in fitted.roles.values():
        choices = [("funny", "a new film", ()), ("scary", "a new film", ())]
        for user, preferred in (("u0", 0), ("u1", 1)):
            head = role.heads[UserKey("t", user)]
            assert int(role.scorer.score(choices, [head, head]).argmax()) == preferred


@pytest.mark.usefixtures("ray_cluster")
def test_training_gives_up_after_too_many_failures(tiny_encoder: Path, tmp_path: Path):
    settings = base_settings(tiny_encoder, max_failures=0, encoder={"name": str(tmp_path / "absent")})
    with pytest.raises(HydraError, match=r"training failed 1 time\(s\)"):
        fit_base(
            {"reranker": taste_groups(2)},
            settings,
            prior_weights=LEARNT,
            seed=1,
            storage=tmp_path,
            show=lambda state, steps: None,
        )


def test_too_little_feedback_is_said_before_any_worker_starts(tiny_encoder: Path, tmp_path: Path):
    with pytest.raises(HydraError, match=r"reranker: 0 training group\(s\) .* Raise feedback\.pseudo_queries"):
        fit_base(
            {"reranker": []},
            base_settings(tiny_encoder),
            prior_weights=LEARNT,
            seed=1,
            storage=tmp_path,
            show=lambda state, steps: None,
        )
