"""Kept encodings: found by the same text and encoder alone, without any text, and scores are as if there were none."""

import pickle

import numpy as np
import pytest
import torch
from defaults import load_scorer, texts_encoder
from torch.testing import assert_close

from hydra_ray.models.encodings import KeptEncodings, encoder_fingerprint

ROOM = 1 << 20
QUERIES = ["two cats meet", "a robot falls in love", "the last night in town"]
ANSWERS = ("comedy", "sci-fi", "drama", "romance", "crime")
DECISIONS = [(answer, query, ANSWERS[:3]) for query in QUERIES for answer in ANSWERS]


def vectors(*texts, width=384):
    return {text: np.full(width, number, np.float32) for number, text in enumerate(texts)}


def test_an_encoding_is_found_by_its_text_and_its_encoder_alone():
    kept = KeptEncodings(ROOM)
    kept.keep("minilm", vectors("a", "b"))
    found = kept.find("minilm", ["b", "c", "a"])
    assert {text: vector[0] for text, vector in found.items()} == {"a": 0, "b": 1}
    assert kept.find("another", ["a", "b"]) == {}
    assert kept.find("minilm", ["a "]) == {}


def test_no_text_is_kept():
    kept = KeptEncodings(ROOM)
    secret = "my-doctor-said"
    kept.keep("minilm", vectors(secret))
    assert secret.encode() not in pickle.dumps(kept._kept._kept)
    assert len(kept) == 1


def test_a_row_does_not_hold_its_batch():
    kept = KeptEncodings(ROOM)
    batch = np.zeros((1_000, 384), np.float32)
    kept.keep("minilm", {"one": batch[7]})
    (vector,) = kept.find("minilm", ["one"]).values()
    batch[7] = 1
    assert vector.base is None
    assert not vector.any()


def test_memory_is_bounded_whatever_comes():
    kept = KeptEncodings(100_000)
    for number in range(1_000):
        kept.keep("minilm", vectors(f"text {number}"))
    assert 90_000 < kept.nbytes <= 100_000
    assert kept.find("minilm", ["text 999"]).keys() == {"text 999"}
    assert kept.find("minilm", ["text 0"]) == {}


def test_reranker_and_adapter_of_a_frozen_encoder_have_one_fingerprint(scorer, tmp_path):
    prints = []
    for number, model in enumerate((scorer(seed=1), scorer(seed=2))):
        model.save(tmp_path / str(number))
        encoder = load_scorer(tmp_path / str(number), precision="float32").encoder
        # How the last batch was cut and padded is no part of it.
        encoder.features(DECISIONS[: 3 * number])
        prints.append(encoder_fingerprint(encoder.backbone, encoder.tokenizer, encoder.max_tokens, "float32"))
    assert prints[0] == prints[1]


@pytest.mark.parametrize("what", ["weights", "max_tokens", "arithmetic", "activation", "tokenizer"])
def test_what_changes_an_encoding_changes_the_fingerprint(tiny_encoder, what):
    encoder = texts_encoder(tiny_encoder, 64)
    about = [encoder.backbone, encoder.tokenizer, 64, "float32"]
    before = encoder_fingerprint(*about)
    if what == "weights":
        with torch.no_grad():
            next(encoder.backbone.parameters())[5, 5] += 1
    elif what == "max_tokens":
        about[2] = 63
    elif what == "arithmetic":
        about[3] = "bfloat16"
    elif what == "activation":
        encoder.backbone.config.hidden_act = "relu"
    else:
        encoder.tokenizer.add_tokens(["hydra"])
    assert encoder_fingerprint(*about) != before


def test_choices_and_scores_are_as_without_kept_encodings(scorer):
    plain, keeping = scorer(), scorer()
    keeping.encoder.remember(KeptEncodings(ROOM))
    expected = plain.score(DECISIONS, [None] * len(DECISIONS))
    assert expected.std() > 0.01
    # Anew, then with a part that is known, then with all of it.
    for decisions in (DECISIONS[:7], DECISIONS, DECISIONS):
        scores = keeping.score(decisions, [None] * len(decisions))
        assert_close(scores, expected[: len(decisions)], atol=1e-5, rtol=0)
        assert scores.argsort().tolist() == expected[: len(decisions)].argsort().tolist()


def test_a_request_reads_its_query_and_what_is_new(scorer, rows):
    model = scorer()
    model.encoder.remember(KeptEncodings(ROOM))
    model.score(DECISIONS[:5], [None] * 5)
    assert sum(rows) == 1 + len(ANSWERS)
    rows.clear()
    said_now = [(answer, "a query of today", ANSWERS[:3]) for answer in (*ANSWERS, "western")]
    model.score(said_now, [None] * len(said_now))
    assert sum(rows) == 2


def test_roles_that_share_an_encoder_share_what_is_kept(scorer, rows):
    reranker, adapter, kept = scorer(seed=1), scorer(seed=2), KeptEncodings(ROOM)
    for model in (reranker, adapter):
        model.encoder.remember(kept)
    reranker.score(DECISIONS, [None] * len(DECISIONS))
    rows.clear()
    adapter.score(DECISIONS, [None] * len(DECISIONS))
    assert rows == []
