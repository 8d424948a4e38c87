"""A spread of users is found where there is one, and none where they are alike."""

import pytest
import torch
from defaults import fit_options
from made_up_users import make_model
from torch.nn import functional as F

from hydra_ray.models.features import UserFeatures, pad
from hydra_ray.models.heads.bases import UNIT_PULL, posterior
from hydra_ray.models.heads.spread import Directions, fit_bases
from hydra_ray.models.lexical import LEXICAL

WIDTH, SIZE, KNOWN, ASKED = 24, 6, 20, 60
# Tastes lie in a plane, at a deviation of 1.5 logits along each of its directions.
PLANE = 1.5 * torch.linalg.qr(torch.randn(WIDTH, 2, generator=torch.Generator().manual_seed(9)))[0]


@pytest.fixture(scope="module")
def model():
    return make_model(WIDTH)


def chooser(model, number, groups, differs):
    """A user who chooses with the noise of a softmax, and the true probabilities of their choices."""
    random = torch.Generator().manual_seed(number)
    z = torch.randn(groups * SIZE, WIDTH, generator=random)
    own = PLANE @ torch.randn(2, generator=random) * differs
    p = (model.shared(z) + z @ own).view(groups, SIZE).softmax(1)
    chosen = F.one_hot(p.multinomial(1, generator=random).squeeze(1), SIZE)
    ids = tuple(map(str, range(groups)))
    features = UserFeatures(z, torch.full((groups,), SIZE), chosen.flatten().float(), torch.zeros(groups * SIZE), ids)
    return features, p


def choosers(model, count, first, groups, differs=1.0):
    return [chooser(model, first + number, groups, differs) for number in range(count)]


def gains(model, differs, first=5000, judged=40):
    """What heads of new users meet beyond the shared one, and what the true prior's do, each user's share."""
    bases = fit_bases([user for user, _ in choosers(model, 60, 100 + first, KNOWN, differs)], model, "listwise")
    model.commons["bases"].load_state_dict(bases.state_dict())
    users = choosers(model, judged, first + 1000, KNOWN + ASKED, differs)
    known = [user.groups(0, KNOWN) for user, _ in users]
    heads = model.fit("bases", known, fit_options())
    own, best = [], []
    for (user, p), early, head in zip(users, known, heads, strict=True):
        late, true = user.z[KNOWN * SIZE :], p[KNOWN:]

        def met(logits, true=true):
            return true.gather(1, logits.view(ASKED, SIZE).argmax(1, keepdim=True)).mean()

        shared = model.shared(late)
        own.append(met(model.logits(late, [head] * len(late))) - met(shared))
        best.append(met(shared + late @ mode(model, early, PLANE * differs)) - met(shared))
    return torch.stack(own), torch.stack(best)


def mode(model, user, plane):
    """Weights of z under the true prior."""
    observed = torch.cat([user.z @ plane, model.shared(user.z).unsqueeze(1), user.scores.unsqueeze(1)], dim=1)
    batch = pad([user])
    return plane @ posterior(observed, batch.group, batch.owner, 1, UNIT_PULL, "listwise", 0.03)["mean"][0]


def error(values):
    return float(values.std() / len(values) ** 0.5)


def test_own_heads_come_near_what_the_true_prior_allows(model):
    own, best = gains(model, differs=1.0)
    assert best.mean() > 0.1
    assert own.mean() > 0.7 * best.mean()


@pytest.mark.parametrize("first", [5000, 15_000, 25_000])
def test_where_users_do_not_differ_own_heads_are_not_below_the_shared_one(model, first):
    own, _ = gains(model, differs=0.0, first=first)
    assert own.mean() > -max(0.005, 2 * error(own))


def test_a_number_that_never_differs_has_no_part_in_any_basis(model):
    users = [user for user, _ in choosers(model, 12, 1, 8)]
    for user in users:
        user.z[:, -1] = -3.0
    bases = fit_bases(users, model, "listwise")
    assert (bases.project[:, -1] == 0).all()
    assert (bases.project[:, -2] != 0).any()


def test_directions_are_of_differences_within_groups():
    random = torch.Generator().manual_seed(0)
    z = torch.randn(40, 8, generator=random) * 0.01
    # Varies from query to query, and never within one.
    z[:, 0] = torch.arange(10).repeat_interleave(4) * 100.0
    z[:, 1] = torch.randn(40, generator=random)
    z[:, -LEXICAL:] = 5 * torch.randn(40, LEXICAL, generator=random)
    user = UserFeatures(z, torch.full((10,), 4), torch.zeros(40), torch.zeros(40), tuple("abcdefghij"))
    project = Directions.of([user], LEXICAL).project
    x = z.double() @ project
    within = x.view(10, 4, -1) - x.view(10, 4, -1).mean(1, keepdim=True)
    deviations = within.square().mean((0, 1)).sqrt()
    assert project[1, 0].abs() == project[:, 0].abs().max()
    assert deviations[:-LEXICAL].square().sum() == pytest.approx(1, abs=1e-6)
    assert deviations[-LEXICAL:].tolist() == pytest.approx([1.0] * LEXICAL, abs=1e-6)
