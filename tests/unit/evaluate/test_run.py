"""What an evaluation refuses before anything is asked or trained."""

import pytest

from hydra_ray.evaluate import run
from hydra_ray.evaluate.run import evaluate
from hydra_ray.methods import METHODS
from hydra_ray.progress import SILENT
from hydra_ray.records import HydraError
from hydra_ray.settings import SettingsError, parse_settings


def refused(split="dev", **wanted):
    tree = parse_settings({"data": {"format": "simulated", "task": "demo", "split": split}, "evaluate": wanted})
    evaluate(tree, SILENT)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"methods": ["rag", "magic"]}, r"evaluate\.methods: there is no magic; there are zero-shot"),
        ({"baselines": ["nothing"]}, r"evaluate\.baselines: there is no nothing"),
        ({"baselines": ["rag", "hydra"]}, r"evaluate\.baselines: hydra is not prompt-based"),
        (
            {"split": "train"},
            r"data\.split: train is what the base learns from, with the answers: hydra-adapter, hydra-ungated, hydra",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_at_once(wanted, words):
    with pytest.raises(HydraError, match=words):
        refused(**wanted)


def test_the_reranker_alone_is_left_out_without_one_and_the_log_says_why(monkeypatch, caplog):
    def names(rerank, methods=()):
        tree = {"method": {"rerank": rerank}, "evaluate": {"methods": methods}}
        monkeypatch.setattr(run, "_check", lambda _, names: asked.append(names))
        monkeypatch.setattr(run, "experiments", lambda _: [])
        monkeypatch.setattr(run, "score", lambda *_: None)
        asked = []
        evaluate(parse_settings(tree), SILENT)
        return asked[0]

    assert names(True, ["rag", "hydra-reranker"]) == ("rag", "hydra-reranker")
    assert caplog.text == ""
    assert names(False) == tuple(name for name in METHODS if name != "hydra-reranker")
    assert "hydra-reranker is not compared, since there is no reranker (method.rerank is false)" in caplog.text
    with pytest.raises(HydraError, match=r"^evaluate\.methods: hydra-reranker needs a reranker: set method\.rerank"):
        names(False, ["hydra-reranker"])


def test_curves_want_one_base():
    with pytest.raises(SettingsError, match=r"evaluate: .*curves are measured with the base in model\.dir"):
        refused(curves=True, seeds=[0, 1])
