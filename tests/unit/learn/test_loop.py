"""Batches of the training loop."""

import pytest
import torch
from torch.testing import assert_close

from hydra_ray.learn.loop import Trainee, collate
from hydra_ray.models.encoder import TextsEncoder
from hydra_ray.settings import BaseSettings

ROWS = [
    {
        "user": user,
        "judged": ["funny", "scary"],
        "by": [film, film],
        "and_by": ["funny | funny", "funny | funny"],
        "scores": [1.0, 0.0],
    }
    for user, film in enumerate(["a shy robot", "a cursed mill"])
]


def trainee(folder, layers):
    torch.manual_seed(0)
    encoder = {"name": str(folder), "max_tokens": 32, "precision": "float32", "trained_layers": layers}
    return Trainee(BaseSettings.model_validate({"encoder": encoder, "head": {"rank": 2}}), users=2)


@pytest.mark.parametrize("layers", [0, 1])
def test_a_frozen_encoder_makes_the_same_logits_of_features_as_of_tokens(tiny_encoder, layers):
    model = trainee(tiny_encoder, layers)
    texts, users, scores, group = collate(model.scorer.encoder, ROWS, torch.device("cpu"))
    assert ("features" in texts) == (layers == 0)
    decisions = [(j, b, a) for row in ROWS for j, b, a in zip(row["judged"], row["by"], row["and_by"], strict=True)]
    expected = model(model.scorer.encoder.tokenize(decisions), users)
    assert_close(model(texts, users), expected, atol=1e-5, rtol=1e-5)
    assert (users.tolist(), group.tolist(), scores.tolist()) == ([0, 0, 1, 1], [0, 0, 1, 1], [1.0, 0.0, 1.0, 0.0])


def test_what_a_frozen_encoder_has_read_is_not_encoded_again(tiny_encoder, monkeypatch):
    model = trainee(tiny_encoder, 0)
    collate(model.scorer.encoder, ROWS, torch.device("cpu"))

    def never(*_):
        raise AssertionError("encoded again")

    monkeypatch.setattr(TextsEncoder, "_encode", never)
    texts, users, *_ = collate(model.scorer.encoder, ROWS, torch.device("cpu"))
    model(texts, users).sum().backward()
    assert model.scorer.heads.shared.told.grad is not None
    assert all(parameter.grad is None for parameter in model.scorer.encoder.parameters())
