from io import StringIO

import pytest
from rich.console import Console

from hydra_ray.evaluate.results import Improvement, Results
from hydra_ray.evaluate.statistics import Interval
from hydra_ray.evaluate.table import caption, results_markdown, results_table


def around(value: float) -> Interval:
    return Interval(value, value - 0.1, value + 0.1, n=80)


@pytest.fixture
def results() -> Results:
    return Results(
        task="LaMP_3",
        split="dev",
        users=40,
        methods={
            "oracle": {"mae": around(0.2), "rmse": around(0.4)},
            "rag": {"mae": around(0.5), "rmse": around(0.7)},
            "hydra": {"mae": around(0.4), "rmse": around(0.8)},
        },
        improvement=Improvement("mae", "hydra", "rag", relative=0.2, low=0.05, high=0.31),
        missing={"rag": 3},
        controls=("oracle",),
    )


def shown(results: Results) -> str:
    console = Console(file=StringIO(), width=120, force_terminal=True, color_system=None, legacy_windows=False)
    console.print(results_table(results))
    return console.file.getvalue()


def test_markdown(results):
    assert results_markdown(results).splitlines()[:5] == [
        "| method | mae ↓ | rmse ↓ |",
        "| --- | ---: | ---: |",
        "| rag | 0.500 [0.400, 0.600] | **0.700 [0.600, 0.800]** |",
        "| hydra | **0.400 [0.300, 0.500]** | 0.800 [0.700, 0.900] |",
        "| *oracle* (control) | 0.200 [0.100, 0.300] | 0.400 [0.300, 0.500] |",
    ]
    assert results_markdown(results).endswith(f"\n\n{caption(results)}\n")


def test_the_terminal_shows_controls_under_a_rule(results):
    lines = shown(results).splitlines()
    rows = [line for line in lines if "[" in line and "│" in line]

    assert [line.split("│")[1].strip() for line in rows] == ["rag", "hydra", "oracle"]
    assert "0.400 [0.300, 0.500]" in rows[1]
    assert lines[lines.index(rows[1]) + 1].startswith("├")
    assert not lines[lines.index(rows[0]) + 1].startswith("├")


def test_the_best_competitor_is_bold_and_no_control_is(results):
    table = results_table(results)

    assert [str(cell.style) for cell in table.columns[1].cells] == ["", "bold", ""]
    assert [str(cell.style) for cell in table.columns[2].cells] == ["bold", "", ""]


def test_bleu_has_two_decimals():
    bleu = Results("LaMP_4", "dev", 1, {"rag": {"bleu": Interval(1.456, 0.9, 2.1, 5)}})

    assert "1.46 [0.90, 2.10]" in results_markdown(bleu)


def test_the_caption_says_it_in_words(results):
    assert caption(results) == (
        "40 users, 80 queries; in brackets 95% intervals over users. hydra is 20.0% better in mae than rag, the best "
        "prompt-based method (improvement between 5.0% and 31.0%), beyond chance. "
        "Queries without an output, which count as wrong: rag 3."
    )


@pytest.mark.parametrize(
    ("relative", "low", "high", "words"),
    [
        (0.1, -0.05, 0.2, "10.0% better in mae than rag, the best prompt-based method (improvement between -5.0% and"),
        (0.1, -0.05, 0.2, "which may be chance"),
        (-0.1, -0.2, -0.05, "10.0% worse"),
        (-0.1, -0.2, -0.05, "beyond chance"),
        (3.0, 1.0, None, "between 100.0% and unbounded), beyond chance"),
    ],
)
def test_the_caption_claims_no_more_than_the_interval(results, relative, low, high, words):
    found = Results("t", "dev", 1, results.methods, Improvement("mae", "hydra", "rag", relative, low, high))

    assert words in caption(found)


def test_only_controls_and_no_methods_still_make_a_table(results):
    only = Results("t", "dev", 1, {"oracle": results.methods["oracle"]}, controls=("oracle",))

    assert "oracle" in shown(only)
    assert "0 queries" in caption(Results("t", "dev", 0, {}))
