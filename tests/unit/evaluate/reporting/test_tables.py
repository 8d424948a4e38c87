from dataclasses import replace
from io import StringIO

import pytest
from defaults import score_runs
from made_outcome import made_outcome, made_task, with_gate
from made_runs import STARS, asked, row, run
from rich.console import Console

from hydra_ray.bootstrap import Interval
from hydra_ray.evaluate.reporting.tables import caption, result_tables
from hydra_ray.evaluate.results import ComparisonResult, Headline, TaskHeadline, TaskResult


def around(value: float) -> Interval:
    return Interval(value, value - 0.1, value + 0.1, n=80)


@pytest.fixture
def task() -> TaskResult:
    made = score_runs([run("rag", [row(asked("a", "q", gold="5"), "4")], STARS)], resamples=50).tasks[0]
    return replace(
        made,
        task="LaMP_3",
        users=40,
        queries=80,
        methods={
            "rag": {"mae": around(0.5), "rmse": around(0.7)},
            "hydra": {"mae": around(0.4), "rmse": around(0.8)},
            "best-candidate": {"mae": around(0.2), "rmse": around(0.4)},
        },
        controls=("best-candidate",),
        missing={"rag": 3},
        headline=TaskHeadline(Interval(0.2, 0.05, 0.31, 80), {"rag": 4, "icl": 1}, Interval(0.25, 0.1, 0.4, 80)),
    )


def result(*tasks: TaskResult) -> ComparisonResult:
    return ComparisonResult(tasks, Headline(Interval(0.1, -0.02, 0.2, 160), Interval(0.3, 0.2, 0.4, 160)))


def shown(found: ComparisonResult) -> str:
    console = Console(file=StringIO(), width=120, force_terminal=True, color_system=None, legacy_windows=False)
    console.print(*result_tables(found))
    return console.file.getvalue()


def test_the_terminal_shows_controls_under_a_rule(task):
    lines = shown(result(task)).splitlines()
    rows = [line for line in lines if "[" in line and "│" in line]

    assert [line.split("│")[1].strip() for line in rows] == ["rag", "hydra", "best-candidate"]
    assert [experiment.strip() for experiment in rows[1].split("│")[2:4]] == [
        "0.400 [0.300, 0.500]",
        "0.800 [0.700, 0.900]",
    ]
    assert any("mae ↓" in line and "rmse ↓" in line for line in lines)
    assert lines[lines.index(rows[1]) + 1].startswith("├")
    assert not lines[lines.index(rows[0]) + 1].startswith("├")


def test_the_best_competitor_is_bold_and_no_control_is(task):
    (table,) = result_tables(result(task))

    assert [str(experiment.style) for experiment in table.columns[1].cells] == ["", "bold", ""]
    assert [str(experiment.style) for experiment in table.columns[2].cells] == ["bold", "", ""]


def test_bleu_has_two_decimals(task):
    found = {"rag": {"bleu": Interval(1.456, 0.9, 2.1, 5)}}
    bleu = replace(task, metrics=("bleu",), higher_is_better={"bleu": True}, methods=found, controls=())

    assert "1.46 [0.90, 2.10]" in shown(result(bleu))


def test_the_caption_says_it_in_words(task):
    assert caption(task) == (
        "40 users, 80 queries; in brackets 95% intervals over users. hydra is 20.0% better (improvement between 5.0% "
        "and 31.0%) in mae than the prompt-based method that is best on other users (folds that chose it: rag 4, icl "
        "1), beyond chance. From majority vote to the best of its candidates it goes 25.0% of the way (between 10.0% "
        "and 40.0%). Answers that are missing, which count as wrong: rag 3."
    )
    assert "80 queries under 3 training seeds;" in caption(replace(task, seeds=(0, 1, 2)))


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.25, "Users' own heads chose 25% of hydra's answers, the shared one the rest."),
        (0.0, "No user had a head of their own, which `fit` makes: hydra is the shared head here."),
    ],
)
def test_the_caption_says_whose_heads_judged(task, share, words):
    assert words in caption(replace(task, own_heads=share))
    assert " head" not in caption(replace(task, own_heads=1.0))


@pytest.mark.parametrize(
    ("relative", "words"),
    [
        (Interval(0.1, -0.05, 0.2, 9), "10.0% better (improvement between -5.0% and 20.0%)"),
        (Interval(0.1, -0.05, 0.2, 9), "which may be chance"),
        (Interval(-0.1, -0.2, -0.05, 9), "10.0% worse"),
        (Interval(-0.1, -0.2, -0.05, 9), "beyond chance"),
        (Interval(3.0, 1.0, float("inf"), 9), "between 100.0% and unbounded)"),
    ],
)
def test_the_caption_claims_no_more_than_the_interval(task, relative, words):
    assert words in caption(replace(task, headline=TaskHeadline(relative, {"rag": 5}, None)))


def test_of_several_tasks_the_headline_stands_at_the_end(task):
    both = result(task, replace(task, task="LaMP_2M"))
    sentence = (
        "On average over 2 tasks hydra is 10.0% better (improvement between -2.0% and 20.0%) than the prompt-based "
        "method that is best on other users, which may be chance."
    )

    first, last = result_tables(both)
    assert "On average" not in first.caption
    assert last.caption.count(sentence) == 1
    (alone,) = result_tables(result(task))
    assert "On average" not in alone.caption, "one task's caption says it"


def test_without_a_headline_there_are_only_numbers(task):
    plain = ComparisonResult((replace(task, headline=None, missing={}),), None)

    assert caption(plain.tasks[0]) == "40 users, 80 queries; in brackets 95% intervals over users."
    assert "hydra" in shown(plain)


def test_only_controls_still_make_a_table(task):
    only = replace(task, methods={"best-candidate": task.methods["best-candidate"]})

    assert "best-candidate" in shown(result(only))


def test_the_caption_says_whose_profiles_name_differences_and_how_many_answers_could_be_read():
    known = [asked(user, user, history_items=items) for user, items in (("ann", 3), ("bob", 3), ("cat", 3), ("eve", 0))]
    without = [(), ("differences",), ("profile",), ()]
    rows = [row(one, "comedy", degraded=gone) for one, gone in zip(known, without, strict=True)]
    (task,) = score_runs([run("dpl", rows, read={"at_once": 3, "never": 1}), run("rag", rows[:1])]).tasks
    assert caption(task).endswith(
        "dpl: 1 of 2 users had a profile that names differences from others, the rest one as pag's. "
        "Of 4 answers about an item's differences 3 could be read (75%)."
    )
    (task,) = score_runs([run("pag", rows[:1])]).tasks
    assert "profile" not in caption(task)


def test_a_table_says_whom_methods_make_worse_than_the_best_plain_one():
    *tasks, last = result_tables(with_gate(made_outcome(made_task("a"), made_task("b"))))

    assert len(tasks) == 2
    cells = list(zip(*([str(cell) for cell in column.cells] for column in last.columns), strict=True))
    assert [row[:2] for row in cells] == [
        ("a", "hydra-reranker"),
        ("a", "hydra"),
        ("b", "hydra-reranker"),
        ("b", "hydra"),
        ("all", "hydra"),
    ]
    assert cells[-1][2:] == (
        "7.5% [3.5%, 11.5%]",
        "22.0% [20.0%, 25.0%]",
        "13.0% [11.0%, 16.0%]",
        "6.0% [4.0%, 9.0%]",
    )
    assert "Its worst task is b" in last.caption
    assert "passed the gate in 34.5" in tasks[0].caption
