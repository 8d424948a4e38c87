import numpy as np
import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, root_mean_squared_error

from hydra_ray.evaluate.scoring.metrics import METRICS, metrics_of, prepare
from hydra_ray.records import HydraError
from hydra_ray.tasks import Task

TAGS = Task(name="tags", kind="classification", labels=("comedy", "dark comedy", "sci-fi", "true story"))
STARS = Task(name="stars", kind="rating", labels=("1", "2", "3", "4", "5"))
TITLES = Task(name="titles", kind="generation")

WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "ran", "from", "dogs", "running", "over", "green", "hills"]


def measure(name: str, task: Task, outputs: list[str], golds: list[str]) -> float:
    return float(METRICS[name].value(prepare(task, outputs, golds).sum(axis=0)))


def titles(count: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 12))) for _ in range(count)]


def test_a_label_within_a_label_is_another_label():
    assert measure("accuracy", TAGS, ["comedy", "dark comedy"], ["dark comedy", "comedy"]) == 0


def test_spelling_of_a_label_does_not_matter():
    assert measure("accuracy", TAGS, ["Sci - Fi.", '"True Story"'], ["sci-fi", "true story"]) == 1


def test_no_label_is_wrong():
    assert measure("accuracy", TAGS, ["", "comedy or sci-fi", "comedy"], ["comedy"] * 3) == pytest.approx(1 / 3)


def test_two_answers_outside_the_labels_are_not_equal():
    assert measure("accuracy", TAGS, ["western"], ["western"]) == 0


def test_macro_f1_by_hand():
    # comedy: precision 1/2, recall 1/1, F1 2/3; sci-fi: precision 1/1, recall 1/2, F1 2/3;
    # dark comedy: never given, F1 0; true story: in neither outputs nor golds, F1 0.
    outputs, golds = ["comedy", "comedy", "sci-fi", "?"], ["comedy", "dark comedy", "sci-fi", "sci-fi"]

    assert measure("macro_f1", TAGS, outputs, golds) == pytest.approx((2 / 3 + 2 / 3) / 4)


def test_classification_equals_scikit_learn():
    rng = np.random.default_rng(0)
    golds = list(rng.choice(TAGS.labels[:3], 200))
    outputs = list(rng.choice([*TAGS.labels, "no idea"], 200))
    index = {label: place for place, label in enumerate(TAGS.labels)}
    given, gold = [index.get(output, -1) for output in outputs], [index[gold] for gold in golds]

    assert measure("accuracy", TAGS, outputs, golds) == pytest.approx(accuracy_score(gold, given))
    expected = f1_score(gold, given, labels=range(4), average="macro", zero_division=0)
    assert measure("macro_f1", TAGS, outputs, golds) == pytest.approx(expected)


def test_classification_needs_labels():
    with pytest.raises(HydraError, match='task "tags": classification'):
        prepare(Task(name="tags", kind="classification"), ["a"], ["a"])


def test_a_kind_without_metrics_is_named():
    with pytest.raises(
        HydraError, match='task "odes": there are no metrics for kind "poetry", only for classification'
    ):
        prepare(Task(name="odes", kind="poetry"), ["a"], ["a"])


def test_no_rating_is_as_wrong_as_can_be():
    # Errors: 5-2 (no answer), 4-1 (no answer), 5-3 (off the scale, either end is 2 away), 1, 0.
    outputs, golds = ["", "good", "7", "4.", "4.0"], ["2", "4", "3", "5", "4"]

    assert measure("mae", STARS, outputs, golds) == pytest.approx((3 + 3 + 2 + 1 + 0) / 5)
    assert measure("rmse", STARS, outputs, golds) == pytest.approx(((9 + 9 + 4 + 1 + 0) / 5) ** 0.5)


def test_rating_equals_scikit_learn():
    rng = np.random.default_rng(0)
    given, gold = rng.integers(1, 6, 100), rng.integers(1, 6, 100)
    outputs, golds = [str(value) for value in given], [str(value) for value in gold]

    assert measure("mae", STARS, outputs, golds) == pytest.approx(mean_absolute_error(gold, given))
    assert measure("rmse", STARS, outputs, golds) == pytest.approx(root_mean_squared_error(gold, given))


def test_rouge_by_hand():
    # 3 of 3 given words are among 4 gold ones: precision 1, recall 3/4. In order: 2 words.
    outputs, golds = ["sat the cat"], ["the cat sat down"]

    assert measure("rouge_1", TITLES, outputs, golds) == pytest.approx(6 / 7)
    assert measure("rouge_l", TITLES, outputs, golds) == pytest.approx(4 / 7)


def test_generation_equals_the_libraries():
    outputs, golds = titles(60, seed=1), titles(60, seed=2)
    outputs[:5] = ["", "Über-café, naïve!", golds[2], "dogs", "  the cat sat on a mat.  "]
    scorer = RougeScorer(["rouge1", "rougeL"], use_stemmer=False)
    rouge = [scorer.score(gold, output) for output, gold in zip(outputs, golds, strict=True)]

    assert measure("rouge_1", TITLES, outputs, golds) == pytest.approx(np.mean([r["rouge1"].fmeasure for r in rouge]))
    assert measure("rouge_l", TITLES, outputs, golds) == pytest.approx(np.mean([r["rougeL"].fmeasure for r in rouge]))
    expected = sacrebleu.corpus_bleu(outputs, [golds]).score
    assert expected > 1
    assert measure("bleu", TITLES, outputs, golds) == pytest.approx(expected)


def test_bleu_smooths_missing_orders_as_corpus_bleu_does():
    outputs, golds = ["the cat ran on hills now"], ["the cat sat over wet hills"]

    assert measure("bleu", TITLES, outputs, golds) == pytest.approx(sacrebleu.corpus_bleu(outputs, [golds]).score)


@pytest.mark.parametrize("name", METRICS)
def test_nothing_answered_is_the_worst_value(name):
    task = {"classification": TAGS, "rating": STARS, "generation": TITLES}[METRICS[name].kind]
    gold = {"classification": "comedy", "rating": "5", "generation": "the cat"}[METRICS[name].kind]

    assert measure(name, task, ["", ""], [gold, gold]) == (0 if METRICS[name].higher_is_better else 4)


@pytest.mark.parametrize("name", ["macro_f1", "bleu"])
def test_a_multiset_of_rows_gives_the_metric_of_that_multiset(name):
    task = TAGS if name == "macro_f1" else TITLES
    rng = np.random.default_rng(3)
    outputs = list(rng.choice(TAGS.labels, 30)) if task is TAGS else titles(30, seed=4)
    golds = list(rng.choice(TAGS.labels, 30)) if task is TAGS else titles(30, seed=5)
    rows = rng.integers(0, 30, (2, 50))

    sums = prepare(task, outputs, golds)[rows].sum(axis=1)

    expected = [measure(name, task, [outputs[i] for i in some], [golds[i] for i in some]) for some in rows]
    assert METRICS[name].value(sums) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("kind", "main"), [("classification", "accuracy"), ("rating", "mae"), ("generation", "rouge_1")]
)
def test_the_main_metric_comes_first(kind, main):
    assert [metric.name for metric in metrics_of(kind) if metric.main] == [main]
    assert metrics_of(kind)[0].name == main


def test_citations_by_hand():
    # [1]: given twice, gold three times, right once, F1 2/5. [2]: given twice, gold twice, right once, F1 1/2.
    # The answer without a number is wrong for [1] and is no false positive of [2], which would make that 2/5.
    task = Task(name="LaMP_1", kind="classification", labels=("[1]", "[2]"))
    outputs, golds = ["[1]", "2", "[1].", "neither", "[2]"], ["[1]", "[2]", "[2]", "[1]", "[1]"]

    assert measure("accuracy", task, outputs, golds) == pytest.approx(2 / 5)
    assert measure("macro_f1", task, outputs, golds) == pytest.approx((2 / 5 + 1 / 2) / 2)


@pytest.mark.parametrize(("gold", "error"), [("1", 4), ("2", 3), ("3", 2), ("4", 3), ("5", 4)])
def test_an_answer_without_a_rating_counts_as_the_farther_end_of_the_scale(gold, error):
    assert measure("mae", STARS, ["I cannot say"], [gold]) == error
    assert measure("rmse", STARS, ["I cannot say"], [gold]) == error
