"""Batches of the training loop."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from hydra_ray.learn.base.rows import group_rows, read_beside
from hydra_ray.learn.base.step import collate
from hydra_ray.learn.base.trainee import Trainee, optimizer_of
from hydra_ray.learn.collect.rows import ExampleKey
from hydra_ray.learn.examples.groups import RankingGroup
from hydra_ray.models.encoder import TextsEncoder
from hydra_ray.records import UserKey
from hydra_ray.settings import BaseSettings

ROWS = [
    {
        "user": user,
        "judged": ["funny", "scary"],
        "by": [film, film],
        "and_by": [("funny", "funny"), ("funny", "funny")],
        "scores": [1.0, 0.0],
        "priors": [0.0, -2.0],
    }
    for user, film in enumerate(["a shy robot", "a cursed mill"])
]


def settings(folder, layers=0, **changes):
    encoder = {"name": str(folder), "max_tokens": 32, "precision": "float32", "trained_layers": layers}
    return BaseSettings.model_validate({"encoder": encoder, "head": {"rank": 2}, **changes})


def trainee(base, prior_weight=None):
    torch.manual_seed(0)
    return Trainee(base, 2, prior_weight)


@pytest.mark.parametrize("layers", [0, 1])
def test_a_frozen_encoder_makes_the_same_logits_of_features_as_of_tokens(tiny_encoder, layers):
    model = trainee(settings(tiny_encoder, layers))
    texts, users, scores, group = collate(model.scorer.encoder, ROWS, torch.device("cpu"))
    assert ("features" in texts) == (layers == 0)
    decisions = [(j, b, a) for row in ROWS for j, b, a in zip(row["judged"], row["by"], row["and_by"], strict=True)]
    known = {name: texts[name] for name in ("priors", "beside")}
    expected = model({**model.scorer.encoder.tokenize(decisions), **known}, users)
    assert_close(model(texts, users), expected, atol=1e-5, rtol=1e-5)
    assert (users.tolist(), group.tolist(), scores.tolist()) == ([0, 0, 1, 1], [0, 0, 1, 1], [1.0, 0.0, 1.0, 0.0])


def test_what_a_frozen_encoder_has_read_is_not_encoded_again(tiny_encoder, monkeypatch):
    model = trainee(settings(tiny_encoder))
    collate(model.scorer.encoder, ROWS, torch.device("cpu"))

    def never(*_):
        raise AssertionError("encoded again")

    monkeypatch.setattr(TextsEncoder, "_encode", never)
    texts, users, *_ = collate(model.scorer.encoder, ROWS, torch.device("cpu"))
    model(texts, users).sum().backward()
    assert model.scorer.heads.shared.lexical.grad is not None
    assert model.scorer.heads.prior.grad is not None
    assert all(parameter.grad is None for parameter in model.scorer.encoder.parameters())


@pytest.mark.parametrize("layers", [0, 1])
def test_numbers_beside_texts_are_the_last_of_what_heads_read(tiny_encoder, layers):
    base = settings(tiny_encoder, layers, lexical=False)
    torch.manual_seed(0)
    model = Trainee(base, 2, beside=("greedy:bm25", "votes:bm25"))
    rows = [{**row, "beside": [[1.0, -0.5], [0.0, -2.5]]} for row in ROWS]
    texts, users, *_ = collate(model.scorer.encoder, rows, torch.device("cpu"))
    silent = model({**texts, "beside": torch.zeros(4, 2)}, users)
    # They weigh nothing before training.
    assert_close(model(texts, users), silent)
    heads = model.scorer.heads
    assert heads.shared.lexical.requires_grad, "they are learnt where words are not read"
    with torch.no_grad():
        heads.shared.lexical[-2:] = torch.tensor([2.0, 3.0])
    assert_close(model(texts, users) - silent, torch.tensor([0.5, -7.5] * 2))


@pytest.mark.parametrize(("given", "weight"), [(None, 1.0), (0.25, 0.25), (0.0, 0.0)])
def test_what_is_known_before_counts_by_its_weight(tiny_encoder, given, weight):
    model = trainee(settings(tiny_encoder), given)
    texts, users, *_ = collate(model.scorer.encoder, ROWS, torch.device("cpu"))
    assert texts["priors"].tolist() == [0, -2, 0, -2]
    known = model(texts, users) - model({**texts, "priors": torch.zeros(4)}, users)
    assert_close(known, weight * texts["priors"])


@pytest.mark.parametrize("lexical", [True, False])
@pytest.mark.parametrize("given", [None, 0.25])
def test_weights_that_are_given_or_weigh_nothing_are_not_trained(tiny_encoder, given, lexical):
    base = settings(tiny_encoder, 1, lexical=lexical)
    model = trainee(base, given)
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    optimized = [id(p) for group in optimizer_of(model, base).param_groups for p in group["params"]]
    assert len(optimized) == len(trained)
    assert set(optimized) == trained
    heads = model.scorer.heads
    assert (id(heads.prior) in trained, id(heads.shared.lexical) in trained) == (given is None, lexical)


def test_single_weights_learn_ten_times_as_fast_and_do_not_decay(tiny_encoder):
    base = settings(tiny_encoder, head_lr=0.001, weight_decay=0.02)
    model = trainee(base)
    how = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer_of(model, base).param_groups for p in g["params"]}
    heads = model.scorer.heads
    assert how[id(heads.prior)] == how[id(heads.shared.lexical)] == (0.01, 0)
    assert all(how[id(p)] == (0.001, 0.02) for p in (heads.shared.dense.weight, *model.bank.parameters()))


def test_groups_of_which_nothing_is_known_have_priors_of_zero():
    told = RankingGroup(
        ExampleKey("t", "b", "q", pseudo=False),
        (("funny", "a film", ()), ("scary", "a film", ())),
        (1.0, 0.0),
        (-0.5, -1.0),
    )
    rows = group_rows([told, replace(told, priors=())], [UserKey("t", "a"), UserKey("t", "b")])
    assert [(row["user"], row["priors"]) for row in rows] == [(1, [-0.5, -1.0]), (1, [0.0, 0.0])]
    assert not any("beside" in row for row in rows)


def test_numbers_beside_texts_stand_in_the_order_of_their_names_and_only_where_they_are_read():
    texts = ("funny", "a film", ()), ("scary", "a film", ())
    key = ExampleKey("t", "b", "q", pseudo=False)
    told = RankingGroup(key, texts, (1.0, 0.0), beside=({"votes:bm25": -0.1}, {"votes:bm25": -3.0, "greedy:bm25": 1.0}))
    untold = replace(told, beside=())
    base = BaseSettings()
    assert read_beside([told, untold], base) == ()
    names = read_beside([told, untold], base.model_copy(update={"read_sources": True}))
    assert names == ("greedy:bm25", "votes:bm25")
    rows = group_rows([told, untold], [UserKey("t", "b")], names)
    assert [row["beside"] for row in rows] == [[[0.0, -0.1], [1.0, -3.0]], [[0.0, 0.0], [0.0, 0.0]]]
