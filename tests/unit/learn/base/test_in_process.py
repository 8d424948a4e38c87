"""Training in this process: what a base learns of the prompts that gave candidates."""

from random import Random

import pytest
import torch
from defaults import SETTINGS, texts_encoder

from hydra_ray.learn.base.in_process import fit_here
from hydra_ray.learn.collect.rows import AdapterRow, ExampleKey
from hydra_ray.learn.examples.features import encode_all
from hydra_ray.learn.examples.groups import adapter_groups
from hydra_ray.models.encodings import KeptEncodings
from hydra_ray.records import Candidate, Query, Source
from hydra_ray.steps.adapt import Adapter, AdaptRequest
from hydra_ray.tasks import TEXT_TASK

WORDS = ("river", "stone", "cloud", "lamp", "goat", "wheel", "salt", "drum", "leaf", "coat")
GOOD, BAD = Source("newest", 1, greedy=False), Source("zero-shot", 1, greedy=True)


@pytest.fixture
def encoder(tiny_encoder):
    made = texts_encoder(tiny_encoder, 64, lexical=False).eval()
    made.train_top_layers(0)
    made.remember(KeptEncodings(1 << 20))
    return made


def rows(count, seed):
    """Queries to which one prompt answers better than the other, whatever the words."""
    drawn = Random(seed)
    found = []
    for number in range(count):
        said = [" ".join(drawn.sample(WORDS, 4)) for _ in range(4)]
        good = drawn.sample(range(4), 2)
        key = ExampleKey("acme", f"user {seed} {number % 10}", f"q{number}", pseudo=False)
        sources = tuple((GOOD,) if place in good else (BAD,) for place in range(4))
        scores = tuple(0.3 if place in good else 0.1 for place in range(4))
        found.append(AdapterRow(key, "what?", "", (), tuple(said), (1,) * 4, scores, sources))
    return found


def trained(encoder, read_sources):
    base = SETTINGS.base.model_copy(update={"read_sources": read_sources, "lexical": False})
    groups = adapter_groups(rows(160, seed=0), TEXT_TASK, 0, unsaid=False)
    return fit_here(groups, base, prior_weight=None, seed=0, encoder=encoder)


def share_of_good(scorer):
    """How often the first of strangers' candidates is of the better prompt."""
    asks = [
        AdaptRequest(
            Query(row.key.query_id, row.key.owner, row.query),
            tuple(Candidate(text, 1, sources=own) for text, own in zip(row.candidates, row.sources, strict=True)),
        )
        for row in rows(100, seed=1)
    ]
    return sum(ordered[0].sources == (GOOD,) for ordered in Adapter(scorer, None)(asks)) / len(asks)


def test_a_base_that_reads_sources_trusts_the_better_prompt(encoder):
    reading, blind = trained(encoder, read_sources=True), trained(encoder, read_sources=False)
    assert reading.beside == ("greedy:newest", "greedy:zero-shot", "votes:newest", "votes:zero-shot")
    assert blind.beside == ()
    assert share_of_good(reading) > 0.9
    assert share_of_good(blind) < 0.7


def test_a_training_starts_where_the_single_numbers_fit_best(encoder):
    groups = adapter_groups(rows(160, seed=0), TEXT_TASK, 0, unsaid=False)
    # Too slow to leave where it starts.
    still = {"read_sources": True, "lexical": False, "head_lr": 1e-12, "epochs": 1}
    started = {}
    for start in ("plain", "fitted"):
        base = SETTINGS.base.model_copy(update={**still, "start": start})
        started[start] = fit_here(groups, base, prior_weight=None, seed=0, encoder=encoder).heads.shared.lexical
    assert started["plain"].tolist() == pytest.approx([1, 0, 0, 0, 0, 0, 0], abs=1e-6)
    greedy_newest, greedy_zero, votes_newest, votes_zero = started["fitted"].tolist()[3:]
    assert greedy_newest == pytest.approx(0, abs=1e-6), "it has no greedy answer"
    assert votes_newest > 0.2
    assert min(-greedy_zero, -votes_zero) > 0.2


def test_heads_are_fitted_on_what_candidates_are_chosen_by(encoder):
    scorer = trained(encoder, read_sources=True)
    groups = adapter_groups(rows(3, seed=2), TEXT_TASK, 0, unsaid=False)
    (features,) = encode_all(scorer, [groups])
    assert features.z.shape[1] == scorer.width == encoder.width + 4
    good = torch.tensor([source == (GOOD,) for row in rows(3, seed=2) for source in row.sources])
    votes = features.z[:, -2:].float()
    assert (votes[good][:, 0] > votes[good][:, 1]).all()
    assert (votes[~good][:, 0] < votes[~good][:, 1]).all()
    assert features.z[:, -3][~good].min() == 1
