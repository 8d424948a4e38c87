import re
from io import StringIO

import pytest
from made_outcome import METHODS, ComparisonResult, made_outcome, made_task
from rich.console import Console

from hydra_ray.evaluate.reporting.published import HEADLINE, beside, published
from hydra_ray.evaluate.scoring.metrics import METRICS
from hydra_ray.methods import METHODS as REGISTRY
from hydra_ray.records import HydraError

PAPERS = ("hydra", "dpl", "mof")


def shown(table) -> list[list[str]]:
    """The table's rows as cells, and its caption as the last row."""
    console = Console(file=StringIO(), width=400, color_system=None, legacy_windows=False)
    console.print(table)
    lines = console.file.getvalue().splitlines()
    rows = [[experiment.strip() for experiment in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    return [*rows, [" ".join(lines[-12:])]]


@pytest.mark.parametrize(
    ("paper", "table", "llm", "method", "task", "metric", "value", "spread"),
    [
        ("hydra", "headline", "not found", "HYDRA", "LaMP", HEADLINE, 0.0901, None),
        ("hydra", "Table 1", "gpt-3.5-turbo-1106", "HYDRA", "LaMP_2M", "accuracy", 0.593, None),
        ("hydra", "Table 1", "gpt-3.5-turbo-1106", "RAG k=4", "LaMP_3", "mae", 0.440, None),
        ("mof", "Table 1", "gpt-3.5-turbo-1106", "MoF", "LaMP_5", "bleu", 6.967, None),
        ("mof", "Table 10", "gpt-4o-mini-2024-07-18", "HYDRA", "LaMP_5", "rouge_l", 0.405, None),
        (
            "mof",
            "ablations",
            "gpt-3.5-turbo-1106, as far as the figures tell",
            "MoF, no router",
            "LaMP_3",
            "mae",
            0.36,
            None,
        ),
        ("mof", "1,000 unseen users", "not found", "MoF, no fit", "LaMP_4", "rouge_1", 0.175, None),
        ("dpl", "Table 1", "Qwen2.5-Instruct; 7B or 14B was not found", "DPL", "Books", "bleu", 5.9379, 0.3108),
        ("dpl", "Table 1", "Qwen2.5-Instruct; 7B or 14B was not found", "RAG", "Movies_and_TV", "meteor", 0.187, 0.005),
    ],
)
def test_figures_are_as_the_papers_print_them(paper, table, llm, method, task, metric, value, spread):
    found = [
        (one.value, one.spread, one.llm)
        for one in published(paper)
        if (one.table, one.method, one.task, one.metric) == (table, method, task, metric) and one.llm == llm
    ]
    assert found == [(value, spread, llm)]


@pytest.mark.parametrize("paper", PAPERS)
def test_every_figure_has_a_source_an_llm_and_data_and_none_is_there_twice(paper):
    figures = published(paper)
    for figure in figures:
        assert re.fullmatch(r"\d{4}\.\d{5}", figure.arxiv)
        assert figure.arxiv in figure.source
        assert figure.llm
        assert figure.data
    keys = [(figure.source, figure.llm, figure.data, figure.method, figure.task, figure.metric) for figure in figures]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("paper", PAPERS)
def test_methods_and_metrics_have_the_names_that_results_have(paper):
    for figure in published(paper):
        assert figure.ours is None or figure.ours in REGISTRY
        assert figure.metric in METRICS or figure.metric in (HEADLINE, "meteor") or figure.metric.startswith("judge_")


def test_hydra_has_its_own_figures_and_mof_none_in_a_reproduction_of_hydra():
    by_paper = {paper: {one.method: one.ours for one in published(paper)} for paper in ("hydra", "mof")}

    assert by_paper["hydra"]["HYDRA"] == "hydra"
    assert not any(method.startswith("MoF") for method in by_paper["hydra"])
    # MoF is hydra with facets for heads: the run beside it is not HYDRA's.
    assert by_paper["mof"]["MoF"] == "hydra"
    assert by_paper["mof"]["HYDRA"] is None


def test_a_paper_without_figures_is_named():
    with pytest.raises(HydraError, match='no published figures of "lamp"; there are those of dpl, hydra, mof'):
        published("lamp")


def test_measured_and_published_figures_of_a_method_stand_side_by_side():
    task = made_task("LaMP_2M")
    rows = shown(beside(made_outcome(task), "hydra"))
    found = task.methods["rag"]["accuracy"]

    assert next(row for row in rows if row[3:4] == ["rag"]) == [
        "",
        "",
        "RAG k=4",
        "rag",
        f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]",
        "-",
        "0.547",
        "0.573",
    ]
    assert rows[0][4:6] == [
        "8.7\N{NO-BREAK SPACE}% [3.1\N{NO-BREAK SPACE}%, 14.1\N{NO-BREAK SPACE}%]",
        "9.01\N{NO-BREAK SPACE}%",
    ]
    assert "other data and other LLMs" in rows[-1][0]
    assert "MoF, arXiv 2610.08330, Table 10: LLM gpt-4o-mini-2024-07-18" in rows[-1][0]


def test_methods_that_were_not_measured_are_shown_on_demand():
    result = made_outcome(made_task("LaMP_2M", methods=("zero-shot", "hydra")))

    names = [
        {row[2] for row in shown(beside(result, "mof", everything=whole)) if len(row) > 2} for whole in (False, True)
    ]
    assert names[0] == {"Zero-shot", "MoF"}
    assert {"HYDRA", "MoF, no router", "RAG k=1"} <= names[1]


def test_a_task_that_the_paper_lacks_is_said_to_have_no_figures():
    result = made_outcome(made_task("LaMP_2M"), made_task("LaMP_2N"))

    rows = shown(beside(result, "hydra"))
    assert "No published figures: LaMP_2N." in rows[-1][0]
    assert not any("LaMP_2N" in row[0] for row in rows[:-1])


def test_without_a_common_task_measured_ones_are_beside_all_data_sets_of_the_paper():
    result = ComparisonResult((made_task("review", "generation", (*METHODS, "dpl")),), None)

    table = beside(result, "dpl")
    assert [str(column.header).splitlines()[-1] for column in table.columns[5:]] == [
        "Movies_and_TV",
        "CDs_and_Vinyl",
        "Books",
    ]
    rows = [row for row in shown(table) if row[2:4] == ["DPL", "dpl"]]
    assert rows[0][5:] == ["0.2940 ±0.0022", "0.3072 ±0.0024", "0.3318 ±0.0047"]


def test_an_outcome_of_nothing_gives_an_empty_table():
    assert beside(ComparisonResult((), None), "dpl").row_count == 0
