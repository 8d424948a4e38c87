"""Answers behind the curves of gain: what the LLM does not answer for now is no point of a curve."""

import asyncio

import pytest
from rich.console import Console

from hydra_ray.bootstrap import Interval
from hydra_ray.data.dataset import Dataset, User
from hydra_ray.evaluate.curves.measure import CurveMaker
from hydra_ray.evaluate.curves.report import Curves, Point, curve_tables
from hydra_ray.models.base import Base
from hydra_ray.progress import SILENT
from hydra_ray.records import UserKey
from hydra_ray.settings import parse_settings
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.generate.failures import UnfinishedError

ANN = UserKey("acme", "ann")


@pytest.fixture
def dataset(item, query):
    queries = tuple(query(f"film {number}") for number in range(6))
    golds = {one.id: "drama" for one in queries}
    return Dataset((User(ANN, (item("a dog barks", "drama"),), queries),), golds=golds)


@pytest.fixture
def answers(dataset, scripted, scorer, tag_task, tmp_path):
    """Has rag answer by an LLM; gives the outputs and who made them."""

    def run(answer):
        base = Base("v", tag_task, scorer(), scorer())
        with asyncio.Runner() as runner:
            settings = parse_settings({"out": str(tmp_path)})
            maker = CurveMaker(settings, tag_task, base, scripted(answer), runner, SILENT)
            return maker._answers(dataset, {}, "rag"), maker

    return run


def failing(text, kind):
    def answer(request):
        if request.messages[-1].content.endswith(text):
            raise GenerateError("no luck", kind)
        return ["drama"]

    return answer


def test_refusals_count_as_wrong_and_are_told_below_the_table(answers):
    outputs, maker = answers(failing("film 3", "refused"))
    assert (outputs["film 3"], outputs["film 2"]) == ("", "drama")
    maker.check()
    point = Point(5, 5.0, *[Interval(0.5, 0.4, 0.6, 6)] * 5)
    console = Console(record=True, width=120)
    console.print(*curve_tables(Curves("tags", "accuracy", 1, (point,), (point,), maker.log.final)))
    assert "Not answered, which counts as wrong: 1 refused (no luck)." in console.export_text()
    assert [(one.kind, one.count) for one in maker.log.final] == [("refused", 1)]


@pytest.mark.parametrize("kind", ["server", "timeout", "busy"])
def test_what_fails_for_now_leaves_the_curves_unfinished(answers, kind):
    _, maker = answers(failing("film 3", kind))
    with pytest.raises(UnfinishedError, match=rf"1 {kind} \(no luck\)\. There are no curves yet"):
        maker.check()


def test_a_key_that_is_turned_away_stops_at_once(answers):
    with pytest.raises(UnfinishedError, match=r"\(key\): no luck"):
        answers(failing("", "key"))
