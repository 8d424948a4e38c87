"""Two workers learn what one learns of the same groups, whole or in shares, at once or in parts."""

import pytest
from gloo_processes import on_two, resumed, steps, trained, whole
from torch.testing import assert_close

from hydra_ray.learn.base.trainee import optimizer_of
from hydra_ray.records import HydraError
from hydra_ray.settings import BaseSettings, parse_settings

WORDS = ("funny", "scary", "sad night", "a long and magical tale of robots")


def batches(count: int = 2, groups: int = 4):
    """Groups of two or three texts, of people who like other ones."""
    return [
        [
            {
                "user": (number + step) % 4,
                "judged": list(WORDS[: 2 + number // 2]),
                "by": [f"film {step} {number} of a mill and a king"] * (2 + number // 2),
                "and_by": [(WORDS[number],)] * (2 + number // 2),
                "scores": [1.0, 0.0, 0.5][: 2 + number // 2],
                "priors": [0.0, -1.0, -2.0][: 2 + number // 2],
            }
            for number in range(groups)
        ]
        for step in range(count)
    ]


@pytest.fixture(scope="module")
def base(tiny_encoder):
    """Makes settings of a base whose encoder is trained, without drops, which each worker draws by itself."""
    encoder = {"name": str(tiny_encoder), "max_tokens": 32, "precision": "float32", "trained_layers": None}
    return lambda **changes: BaseSettings.model_validate(
        {"encoder": encoder, "head": {"rank": 2}, "user_drop": 0.0, **changes}
    )


def alone(base: BaseSettings, of=None):
    """Losses and weights of one process that has all groups."""
    parallel = whole(base)
    losses = steps(parallel, of or batches(), base, optimizer_of(parallel.trainee, base))
    return losses, parallel.weights()


@pytest.fixture(scope="module")
def in_shares(base, tmp_path_factory):
    """What two workers that hold shares came to."""
    return on_two(trained, tmp_path_factory.mktemp("shares"), base(sharded=True), batches())


def assert_alike(weights, others, atol: float, rtol: float) -> None:
    """Weights but those whose gradient is rounding alone, of which AdamW makes steps as large as any.

    A softmax, of attention or of the loss, does not see what all its arguments have in common.
    """
    unseen = ("attention.self.key.bias", "heads.shared.out.bias")
    told = [{name: one[name] for name in one if not name.endswith(unseen)} for one in (weights, others)]
    assert_close(*told, atol=atol, rtol=rtol)


def assert_two_like_one(two, base: BaseSettings) -> None:
    losses, weights = alone(base)
    (first, theirs, *_), (second, *_) = two
    assert [(a + b) / 2 for a, b in zip(first, second, strict=True)] == pytest.approx(losses, rel=1e-4)
    assert theirs.keys() == weights.keys()
    assert_alike(theirs, weights, atol=1e-5, rtol=1e-3)
    before = whole(base).weights()
    moved = [name for name, tensor in weights.items() if not tensor.equal(before[name])]
    assert any("encoder.layer" in name for name in moved), "the encoder is trained"
    assert any(name.startswith("bank") for name in moved), "and heads are"


@pytest.mark.parametrize("loss", ["listwise", "bce"])
def test_a_step_in_parts_is_the_step(base, loss):
    losses, weights = alone(base(loss=loss))
    in_parts, same = alone(base(loss=loss, accumulate=3))
    assert in_parts == pytest.approx(losses, rel=1e-5)
    assert_alike(same, weights, atol=2e-6, rtol=1e-4)


def test_two_workers_with_shares_learn_what_one_does(base, in_shares):
    assert_two_like_one(in_shares, base())


@pytest.mark.parametrize("sharded", [False, True], ids=["whole", "in shares"])
def test_two_workers_learn_in_parts_what_one_does_at_once(base, tmp_path, sharded):
    assert_two_like_one(on_two(trained, tmp_path, base(sharded=sharded, accumulate=2), batches()), base())


def test_shares_go_on_from_a_checkpoint_as_if_nothing_had_happened(base, in_shares, tmp_path):
    again, _ = on_two(resumed, tmp_path, base(sharded=True), batches())
    assert_alike(again, in_shares[0][1], atol=1e-6, rtol=1e-4)


def test_workers_with_shares_make_as_many_passes_whatever_texts_they_have(base, tmp_path):
    """Else one would wait for the other's shares for ever."""
    (batch,) = batches(count=1)
    # Only the first worker has long texts.
    for row in batch[::2]:
        row["judged"] = [f"{text} {'of robots ' * 40}" for text in row["judged"]]
    losses, _ = alone(base(), [batch])
    (first, *_), (second, *_) = on_two(trained, tmp_path, base(sharded=True), [batch])
    assert [(a + b) / 2 for a, b in zip(first, second, strict=True)] == pytest.approx(losses, rel=1e-4)


def test_a_worker_holds_half_of_the_encoder(base, in_shares):
    encoder = whole(base()).trainee.scorer.encoder
    total = sum(p.numel() for p in encoder.parameters())
    trained_ones = sum(p.numel() for p in encoder.parameters() if p.requires_grad)
    for _, _, weights, moments in in_shares:
        # Rows of one worker may be one more than those of the other.
        assert weights == pytest.approx(total / 2, rel=0.05)
        assert moments == pytest.approx(trained_ones / 2, rel=0.05)


def test_a_frozen_encoder_is_not_shared_out():
    with pytest.raises(HydraError, match=r"base: .*sharded is of an encoder that is trained"):
        parse_settings({"base": {"sharded": True}})
