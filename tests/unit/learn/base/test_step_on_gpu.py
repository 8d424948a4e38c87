"""A training step on a GPU is the step of the processor. Where there is no GPU these tests are skipped."""

import pytest
import torch
from gloo_processes import whole
from torch.testing import assert_close

from hydra_ray.learn.base.step import train_step
from hydra_ray.learn.base.trainee import optimizer_of
from hydra_ray.settings import BaseSettings

WORDS = ("funny", "scary", "sad night", "a long and magical tale of robots")
BATCH = [
    {
        "user": number,
        "judged": list(WORDS[: 2 + number // 2]),
        "by": [f"film {number} of a mill and a king"] * (2 + number // 2),
        "and_by": [(WORDS[number],)] * (2 + number // 2),
        "scores": [1.0, 0.0, 0.5][: 2 + number // 2],
        "priors": [0.0, -1.0, -2.0][: 2 + number // 2],
    }
    for number in range(4)
]


@pytest.fixture
def base(tiny_encoder):
    """Makes settings of a base; a drop would be drawn anew for each step."""

    def make(layers, precision="float32", **changes):
        encoder = {
            "name": str(tiny_encoder),
            "max_tokens": 32,
            "precision": precision,
            "trained_layers": layers,
        }
        return BaseSettings.model_validate({"encoder": encoder, "head": {"rank": 2}, "user_drop": 0.0, **changes})

    return make


def three_steps(base, device):
    """Losses of three steps, and the gradient of the first one."""
    parallel = whole(base)
    parallel.trainee.to(device).train()
    optimizer, losses, gradients = optimizer_of(parallel.trainee, base), [], {}
    for _ in range(3):
        losses.append(train_step(parallel, BATCH, base, optimizer, torch.device(device)))
        own = parallel.trainee.named_parameters()
        gradients = gradients or {name: p.grad.cpu().clone() for name, p in own if p.grad is not None}
    return losses, gradients


@pytest.mark.parametrize("loss", ["listwise", "bce"])
@pytest.mark.parametrize("layers", [0, 1, None], ids=["frozen", "top layer", "all"])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_losses_and_gradients_are_the_same(base, cuda, layers, loss, accumulate):
    how = base(layers, loss=loss, accumulate=accumulate)
    (losses, gradients), (right, theirs) = three_steps(how, cuda), three_steps(how, "cpu")
    assert losses == pytest.approx(right, rel=1e-4)
    assert gradients.keys() == theirs.keys()
    assert_close(gradients, theirs, atol=1e-5, rtol=1e-3)


def test_half_precision_learns_as_much(base, cuda):
    half, _ = three_steps(base(None, "bfloat16"), cuda)
    right, _ = three_steps(base(None), "cpu")
    assert half == pytest.approx(right, rel=0.05)
