import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from hydra_ray.models.losses import LOSSES, TEMPERATURE, bce, group_log_softmax, listwise

RAGGED = torch.tensor([0, 0, 0, 1, 2, 2, 2, 2, 2, 3, 3])


@pytest.fixture
def logits():
    return 3 * torch.randn(len(RAGGED), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def scores():
    return torch.rand(len(RAGGED), generator=torch.Generator().manual_seed(1))


def test_listwise_is_cross_entropy_of_softmaxes_for_groups_of_one_size(logits, scores):
    logits, scores = logits[:9].view(3, 3), scores[:9].view(3, 3)
    expected = F.cross_entropy(logits, F.softmax(scores / TEMPERATURE, dim=1), reduction="none")
    assert_close(
        listwise(logits.flatten(), scores.flatten(), torch.arange(3).repeat_interleave(3), TEMPERATURE), expected
    )


def test_bce_is_the_mean_over_a_groups_pairs():
    logits, scores = torch.tensor([0.0, 2.0, -1.0]), torch.tensor([1.0, 0.0, 0.25])
    good, bad = -torch.log(torch.sigmoid(logits)), -torch.log(torch.sigmoid(-logits))
    expected = torch.stack([(good[0] + bad[1]) / 2, 0.25 * good[2] + 0.75 * bad[2]])
    assert_close(bce(logits, scores, torch.tensor([0, 0, 1]), TEMPERATURE), expected)


def test_the_temperature_says_how_much_better_the_best_counts(logits, scores):
    assert_close(listwise(logits, scores, RAGGED, 0.5), listwise(logits, scores / 5, RAGGED, 0.1))
    # A label's probability has none.
    assert_close(bce(logits, scores, RAGGED, 0.5), bce(logits, scores, RAGGED, 0.1), atol=0, rtol=0)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
def test_groups_of_different_sizes_do_not_mix(loss, logits, scores):
    together = loss(logits, scores, RAGGED)
    assert together.shape == (4,)
    for number in range(4):
        mine = number == RAGGED
        alone = loss(logits[mine], scores[mine], torch.zeros(int(mine.sum()), dtype=torch.long))
        assert_close(together[number], alone[0])


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
def test_pairs_of_a_group_may_stand_apart(loss, logits, scores):
    order = torch.randperm(len(RAGGED), generator=torch.Generator().manual_seed(2))
    assert_close(loss(logits[order], scores[order], RAGGED[order]), loss(logits, scores, RAGGED))


def test_listwise_does_not_see_what_a_whole_group_has_in_common(logits, scores):
    shifted = logits + torch.tensor([5.0, -7.0, 100.0, 0.5])[RAGGED]
    assert_close(
        listwise(shifted, scores, RAGGED, TEMPERATURE),
        listwise(logits, scores, RAGGED, TEMPERATURE),
        atol=1e-4,
        rtol=1e-4,
    )


def test_listwise_is_content_with_logits_like_the_scores(scores):
    logits = (scores / TEMPERATURE).requires_grad_()
    listwise(logits, scores, RAGGED, TEMPERATURE).sum().backward()
    assert_close(logits.grad, torch.zeros_like(scores), atol=1e-6, rtol=0)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
def test_a_step_down_the_gradient_helps(loss, logits, scores):
    logits.requires_grad_()
    before = loss(logits, scores, RAGGED).sum()
    before.backward()
    assert loss(logits - 0.1 * logits.grad, scores, RAGGED).sum() < before


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
def test_huge_logits_give_finite_losses_and_gradients(loss, scores):
    logits = torch.tensor([1e4, -1e4, 0.0, 1e4, *[-1e4] * 5, 1e4, 1e4], requires_grad=True)
    losses = loss(logits, scores, RAGGED)
    losses.sum().backward()
    assert torch.isfinite(losses).all()
    assert torch.isfinite(logits.grad).all()


def test_the_gradient_of_log_softmax_is_torchs(logits):
    logits.requires_grad_()
    weights = torch.arange(len(RAGGED), dtype=torch.float32)
    (ours,) = torch.autograd.grad((weights * group_log_softmax(logits, RAGGED)).sum(), logits)
    torchs = torch.cat([F.log_softmax(logits[number == RAGGED], dim=0) for number in range(4)])
    assert_close(ours, torch.autograd.grad((weights * torchs).sum(), logits)[0])
