from dataclasses import replace
from functools import partial

import pytest
import torch
from defaults import fit_options, posterior
from made_up_users import make_model, make_user, only
from torch.nn import functional as F
from torch.testing import assert_close

from hydra_ray.models.heads.bases import observations
from hydra_ray.models.losses import LOSSES


def deviation(head: dict[str, torch.Tensor], phi: torch.Tensor) -> torch.Tensor:
    """Standard deviation of a user's delta for basis values of shape (decisions, bases), shape (decisions,)."""
    bases = phi.shape[1]
    rows, columns = torch.tril_indices(bases, bases)
    lower = torch.zeros(bases, bases, dtype=torch.float64)
    lower[rows, columns] = head["precision"].double()
    precision = lower + lower.tril(-1).T
    solved = torch.cholesky_solve(phi.double().T, torch.linalg.cholesky(precision))
    return (phi.double().T * solved).sum(0).sqrt().float()


SIZES = (3, 2, 4, 1, 5)
# Of the prior's precision where the pull is the default.
UNIT = 0.05

every_loss = pytest.mark.parametrize("loss", list(LOSSES))


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def observed(model):
    return observations_of(model, make_user(1, SIZES))


def observations_of(model, user):
    """A group each."""
    known = model.shared(user.z) + model.prior * user.priors
    return observations(model.common("bases"), user.z, known, user.scores).split(user.sizes.tolist())


def fit(groups, **options):
    """One user's posterior from groups of evidence."""
    sizes = torch.tensor([len(group) for group in groups])
    group = torch.arange(len(groups)).repeat_interleave(sizes)
    found = posterior(torch.cat(groups), group, torch.zeros(len(groups), dtype=torch.long), 1, **options)
    return {name: tensor[0] for name, tensor in found.items()}


def objective(groups, loss, pull, temperature, w):
    """What the posterior's mode minimises, group by group."""
    total = pull / UNIT * (w**2).sum() / 2
    for group in groups:
        group = group.double()
        logits, scores = group[:, :-2] @ w + group[:, -2], group[:, -1]
        if loss == "listwise":
            total = total + F.cross_entropy(logits, F.softmax(scores / temperature, dim=0))
        else:
            total = total + F.binary_cross_entropy_with_logits(logits, scores)
    return total


def minimum(function, size):
    w = torch.zeros(size, dtype=torch.float64, requires_grad=True)
    # Until the gradient is gone, however little is gained on the way.
    optimizer = torch.optim.LBFGS(
        [w], max_iter=500, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        value = function(w)
        value.backward()
        return value

    optimizer.step(closure)
    return w.detach()


@every_loss
@pytest.mark.parametrize(("pull", "temperature"), [(0.05, 0.1), (0.5, 0.1), (0.005, 0.5)])
def test_the_posterior_is_the_laplace_approximation_at_the_mode(observed, loss, pull, temperature):
    head = fit(observed, loss=loss, pull=pull, temperature=temperature)
    reference = partial(objective, observed, loss, pull, temperature)
    mode = minimum(reference, 16)
    assert_close(head["mean"].double(), mode, atol=1e-6, rtol=1e-5)
    hessian = torch.autograd.functional.hessian(reference, mode)
    assert_close(head["precision"].double(), hessian[*torch.tril_indices(16, 16)], atol=1e-5, rtol=1e-5)


@every_loss
def test_the_order_of_items_does_not_matter(observed, loss):
    shuffled = [observed[number] for number in (3, 0, 4, 2, 1)]
    assert_close(fit(shuffled, loss=loss), fit(observed, loss=loss), atol=0, rtol=0)


@every_loss
def test_a_posterior_does_not_show_who_else_was_fitted(observed, loss):
    user = make_user(2, (9, 7))
    other = torch.randn(16, 18, generator=torch.Generator().manual_seed(3)).half() * 4
    other[:, -1] = user.scores
    group = torch.arange(7).repeat_interleave(torch.tensor([9, *SIZES, 7]))
    owner = torch.tensor([0, 1, 1, 1, 1, 1, 0])
    together = posterior(torch.cat([other[:9], *observed, other[9:]]), group, owner, 2, loss=loss)
    assert_close({name: p[1] for name, p in together.items()}, fit(observed, loss=loss), atol=0, rtol=0)


@every_loss
@pytest.mark.parametrize("removed", range(len(SIZES)))
def test_taking_an_item_away_leaves_what_fitting_without_it_gives(model, loss, removed):
    user = make_user(1, SIZES)
    rest = [number for number in range(len(SIZES)) if number != removed]
    (head,) = model.fit("bases", [only(user, rest)], fit_options(loss=loss))
    observed = observations_of(model, user)
    assert_close(fit([observed[number] for number in rest], loss=loss), head.tensors, atol=0, rtol=0)


def test_without_evidence_the_prior_is_left(model):
    # Of one decision nothing is preferred to anything: a listwise loss learns nothing from it.
    head = fit([torch.ones(1, 18).half()], pull=0.1)
    assert_close(head["mean"], torch.zeros(16), atol=0, rtol=0)
    assert_close(head["precision"], (2 * torch.eye(16))[*torch.tril_indices(16, 16)], atol=1e-6, rtol=0)


@every_loss
@pytest.mark.parametrize("seed", range(8))
def test_logits_far_from_the_scores_still_lead_to_the_mode(model, loss, seed):
    # So far that there is next to no curvature, and a full Newton step is thousands of times too long.
    observed = observations_of(model, make_user(seed, SIZES))
    far = [torch.cat([4 * group[:, :-2], 20 * group[:, -2:-1], group[:, -1:]], dim=1) for group in observed]
    head = fit(far, loss=loss, pull=1e-4, temperature=0.1)
    mode = head["mean"].double().requires_grad_()
    objective(far, loss, 1e-4, 0.1, mode).backward()
    assert mode.grad.abs().max() < 1e-4


@every_loss
def test_the_more_a_user_has_told_the_smaller_the_deviation(observed, loss):
    phi = torch.cat([group[:, :-2] for group in observed]).float()
    nothing = fit([torch.ones(1, 18).half()])
    some, much = fit(observed[:2], loss=loss), fit(observed, loss=loss)
    before, between, after = (deviation(head, phi) for head in (nothing, some, much))
    assert (after <= between).all()
    assert (between <= before).all()
    assert after.mean() < 0.95 * between.mean() < 0.95 * before.mean()


def test_the_deviation_is_that_of_weights_drawn_from_the_posterior(observed):
    head, phi = fit(observed), observed[2][:, :-2].float()
    lower = torch.zeros(16, 16).index_put(tuple(torch.tril_indices(16, 16)), head["precision"])
    covariance = torch.linalg.inv(lower + lower.tril(-1).T)
    drawn = torch.distributions.MultivariateNormal(head["mean"], covariance)
    torch.manual_seed(0)
    assert_close(deviation(head, phi), (drawn.sample((20_000,)) @ phi.T).std(dim=0), atol=0, rtol=0.03)


def test_a_head_is_its_mean_over_the_bases(model):
    user = make_user(1)
    (head,) = model.fit("bases", [user], fit_options())
    phi = model.common("bases")(user.z)
    assert_close(model.logits(user.z, [head] * 9) - model.shared(user.z), phi @ head.tensors["mean"])
    bases = model.common("bases")
    assert_close(phi, bases.scale * torch.tanh(user.z @ bases.project.T))


def test_evidence_is_all_that_a_posterior_depends_on(model, observed):
    user = make_user(1, SIZES)
    assert (observed[0].dtype, observed[0].shape) == (torch.float16, (3, 18))
    (head,) = model.fit("bases", [user], fit_options(pull=0.2, temperature=0.3))
    assert_close(fit(observed, pull=0.2, temperature=0.3), head.tensors, atol=0, rtol=0)
    renamed = replace(user, observation_ids=("a", "b", "c", "d", "e"))
    assert_close(model.fit("bases", [renamed], fit_options())[0].tensors, fit(observed), atol=0, rtol=0)
