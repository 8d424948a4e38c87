"""What an evaluation refuses before anything is asked or trained."""

import pytest

from hydra_ray.evaluate.run import evaluate
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
            r"data\.split: train is what the base learns from, with the answers: hydra-reranker, hydra",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_at_once(wanted, words):
    with pytest.raises(HydraError, match=words):
        refused(**wanted)


def test_curves_want_one_base():
    with pytest.raises(SettingsError, match=r"evaluate: .*curves are measured with the base in model\.dir"):
        refused(curves=True, seeds=[0, 1])
