"""A GPU computes what the processor computes. Where there is none these tests are skipped."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from defaults import fit_options, load_scorer, texts_encoder
from made_up_texts import DECISIONS, LONG
from made_up_users import WIDTH, make_head, make_model, make_user
from torch.testing import assert_close

from hydra_ray.models.features import pad
from hydra_ray.models.heads import HEAD_KINDS
from hydra_ray.models.heads.descent import GradientFitted

TEXTS = ["two cats meet", LONG, "drama", "a robot falls from a very high tower"]
USERS = [make_user(1, (3, 2, 4)), make_user(2, (2,)), make_user(3, (1, 5, 2, 2, 3))]

every_kind = pytest.mark.parametrize("kind", list(HEAD_KINDS))


def test_features_are_the_same(tiny_encoder, cuda):
    encoder = texts_encoder(tiny_encoder, 64, precision="float32").eval()
    on_gpu = deepcopy(encoder).to(cuda)
    assert_close(on_gpu.features(DECISIONS), encoder.features(DECISIONS), atol=1e-4, rtol=1e-4)
    assert_close(on_gpu.embed(TEXTS), encoder.embed(TEXTS), atol=1e-5, rtol=1e-4)


def test_half_precision_changes_directions_little(tiny_encoder, cuda):
    encoder = texts_encoder(tiny_encoder, 64, precision="float32").eval()
    on_gpu = texts_encoder(tiny_encoder, 64, precision="bfloat16").eval().to(cuda)
    cosines = (on_gpu.embed(TEXTS) * encoder.embed(TEXTS)).sum(dim=1)
    assert cosines.min() > 0.999


@every_kind
def test_heads_score_the_same(kind, cuda):
    model = make_model()
    ann, bob = make_head(model, kind, seed=1), make_head(model, kind, seed=2)
    z = torch.randn(6, WIDTH, generator=torch.Generator().manual_seed(1))
    whose = [ann, bob, None, bob, ann, ann]
    assert_close(deepcopy(model).to(cuda).logits(z, whose), model.logits(z, whose), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("more", [{}, {"dropout": 0.4}, {"held_back": 0.5}], ids=["plain", "dropout", "held_back"])
@every_kind
def test_fits_arrive_at_the_same_heads(kind, more, cuda, monkeypatch):
    form, model = HEAD_KINDS[kind], make_model().double()
    # In float32 Adam enlarges rounding wherever a gradient is nearly zero.
    if isinstance(form, GradientFitted):
        fresh = form.fresh
        monkeypatch.setattr(form, "fresh", lambda *args: {name: p.double() for name, p in fresh(*args).items()})

    def fit(device):
        mine, batch = deepcopy(model).to(device), pad(USERS, device)
        batch = replace(batch, z=batch.z.double(), scores=batch.scores.double())
        options = fit_options(rank=3, steps=15, lr=0.05, **more)
        fitted = form.fit(batch, mine.shared(batch.z), mine.common(kind), options)
        assert {tensor.device.type for tensor in fitted.values()} == {torch.device(device).type}
        return {name: tensor.detach().cpu() for name, tensor in fitted.items()}

    # Observations of bases are kept in three digits, and their last one may be rounded the other way.
    near = 1e-3 if kind == "bases" else 1e-6
    assert_close(fit(cuda), fit("cpu"), atol=near, rtol=10 * near)


@every_kind
def test_a_base_is_loaded_onto_the_gpu_and_scores_the_same(kind, scorer, cuda, tmp_path):
    made = scorer()
    made.save(tmp_path)
    loaded = load_scorer(tmp_path)
    assert {parameter.device.type for parameter in loaded.parameters()} == {cuda.type}
    head = make_head(made.heads, kind, seed=1)
    whose = [head, None, head, head, None]
    assert_close(loaded.score(DECISIONS, whose), made.score(DECISIONS, whose), atol=1e-3, rtol=1e-3)
