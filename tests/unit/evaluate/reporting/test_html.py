"""The page is read as a browser reads it: its tables, its words, what it points at."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from made_outcome import (
    CONTROLS,
    METHODS,
    ComparisonResult,
    Headline,
    Interval,
    bare_task,
    made_outcome,
    made_task,
    with_gate,
)

from hydra_ray.evaluate.reporting.formatting import signed
from hydra_ray.evaluate.reporting.html import render, write_report
from hydra_ray.evaluate.results import UserGain

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Tables as rows of cells' texts, other words, elements with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.bold: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open, f"elements left open: {self._open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "b":
            self.bold.append("")

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        data = data.replace("\N{NO-BREAK SPACE}", " ")
        if "style" not in self._open:
            self.words += data
        if "td" in self._open or "th" in self._open:
            self.tables[-1][-1][-1] += data
        if "b" in self._open:
            self.bold[-1] += data

    def table(self, corner: str, place: int = 0) -> dict[str, list[str]]:
        """A table's rows by their first cell; the corner names it."""
        rows = [table for table in self.tables if table and table[0][0] == corner][place]
        return {row[0]: row[1:] for row in rows}


def shown(found: Interval, digits: int = 3) -> str:
    return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


@pytest.fixture(scope="module")
def text_task():
    return made_task("LaMP_4", "generation", seed=3)


@pytest.fixture(scope="module")
def result(text_task):
    return made_outcome(made_task("LaMP_2M"), text_task)


@pytest.fixture(scope="module")
def text(result):
    return render(result)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_every_method_has_its_metrics_with_intervals_and_its_cost(page, text_task):
    table = page.table("method", 6)  # The first task has six tables of methods.
    assert table["method"][:3] == ["rouge_1 ↑", "rouge_l ↑", "bleu ↑"]
    for name, metrics in text_task.methods.items():
        cost = text_task.costs[name]
        assert table[name][:3] == [shown(metrics["rouge_1"]), shown(metrics["rouge_l"]), shown(metrics["bleu"], 2)]
        assert table[name][3] == f"{cost.calls:.0f}"
        assert table[name][-4:] == ["0.42", "0.0 %", "0, 0, 0", "1.0 %"]
        assert abs(float(table[name][4].replace(",", "")) - cost.prompt_tokens) <= 0.5


def test_the_best_competitor_is_bold_and_no_control_is(page, result):
    for task in result.tasks:
        for metric, higher in task.higher_is_better.items():
            values = [found[metric] for name, found in task.methods.items() if name not in CONTROLS]
            best = (max if higher else min)(values, key=lambda found: found.value)
            assert shown(best, 2 if metric == "bleu" else 3) in page.bold
    assert shown(result.tasks[0].methods["best-candidate"]["accuracy"]) not in page.bold


def test_controls_stand_below_a_rule(page):
    rows = list(page.table("method"))
    rule = rows.index("controls: no competitors")
    assert set(rows[rule + 1 :]) == set(CONTROLS)
    assert set(rows[1:rule]) == set(METHODS) - set(CONTROLS)


def test_every_seed_has_its_value_and_a_method_its_spread(page, result):
    task = result.tasks[0]
    table = page.table("method", 1)
    assert table["method"] == ["seed 0", "seed 1", "seed 2", "spread"]
    for name, values in task.by_seed.items():
        spread = max(values.values()) - min(values.values())
        assert table[name] == [f"{value:.3f}" for value in (*values.values(), spread)]


def test_every_slice_has_its_value_for_every_method(page, result):
    for place, (by, head) in enumerate(
        [
            ("history", "1 to 512 users, n = 40"),
            ("cohort", "drama, few items31 users, n = 40"),
            ("item", "seen44 users, n = 40"),
        ]
    ):
        parts = [part for part in result.tasks[0].slices if part.by == by]
        table = page.table("method", 3 + place)
        assert table["method"][0] == head
        for name in METHODS:
            assert table[name] == [shown(part.methods[name]) for part in parts]


def test_every_fate_is_there(page, result):
    rows = next(table for table in page.tables if table[0][1:2] == ["better"])
    table = {row[0]: row[1:4] for row in rows}
    for name, fate in result.tasks[0].fates.items():
        assert table[name] == [f"{100 * share:.1f} %" for share in (fate.better, fate.same, fate.worse)]
    assert table["zero-shot"] == ["\N{EN DASH}"] * 3


def test_hydra_is_compared_with_each_other_method_from_its_own_side(page, result):
    table = page.table("hydra against")
    for pair in result.tasks[0].pairs:
        if "hydra" not in (pair.first, pair.second):
            continue
        sign = 1 if pair.first == "hydra" else -1
        found, other = pair.difference, pair.second if sign > 0 else pair.first
        low, high = sorted((sign * found.low, sign * found.high))
        assert table[other][0] == f"{signed(sign * found.value)} [{signed(low)}, {signed(high)}]"
        assert table[other][2] == ("<0.001" if pair.p_holm < 0.001 else f"{pair.p_holm:.3f}")
        assert table[other][3] == ("may be chance" if pair.p_holm >= 0.05 else "better" if sign > 0 else "worse")


def test_every_pair_of_competitors_is_in_the_matrix_and_grey_where_it_may_be_chance(page, result):
    experiments = [about for tag, about in page.elements if tag == "td" and about.get("title")]
    pairs = [pair for task in result.tasks for pair in task.pairs if not {pair.first, pair.second} & set(CONTROLS)]
    assert len(experiments) == len(pairs)
    for pair in pairs:
        start = f"{pair.first} over {pair.second}: {signed(pair.difference.value)} ["
        (experiment,) = [about for about in experiments if about["title"].startswith(start)]
        assert experiment["class"] == ("chance" if pair.p_holm >= 0.05 else "sure")


def test_the_verdict_says_gain_gap_losers_and_cost(page):
    for sentence in (
        "Over 2 tasks hydra is on average 8.7 % better than the prompt-based method that is best on other users "
        "(95 % interval 3.1 % to 14.1 %), which is beyond chance.",
        "Beyond chance it is better in 2 and worse in 0 of 2 tasks.",
        "goes 38.4 % of the way (95 % interval 27.4 % to 49.4 %).",
        "of users lose.",
        "A request costs it 8 LLM calls and",
    ):
        assert sentence in page.words


def test_shares_of_users_are_over_all_tasks():
    better, worse = made_task(users=30).fates, made_task(users=90).fates
    tasks = [
        made_task("a", users=30, fates={"hydra": replace(better["hydra"], better=1.0, same=0.0, worse=0.0)}),
        made_task("b", users=90, fates={"hydra": replace(worse["hydra"], better=0.0, same=0.0, worse=1.0)}),
    ]
    assert "it makes 75.0 % of users worse and 25.0 % better." in Page(render(made_outcome(*tasks))).words


def test_a_gain_that_is_rounding_is_no_loss():
    gains = tuple(UserGain(str(gain), gain, 1, 1) for gain in (-0.2, -1e-17, 0.0, 0.3))
    page = Page(render(made_outcome(made_task(gains=gains))))

    assert "1 of 4 users (25.0 %) lose, 1 gain, 2 neither." in page.words
    assert "25.0 % of users lose." in page.words


def test_whom_a_method_makes_worse_than_the_best_plain_one_is_told():
    page = Page(render(with_gate(made_outcome(made_task("a"), made_task("b")))))

    assert page.table("with a base", 1)["hydra"] == [
        "+0.031 [−0.009, +0.071]",
        "−5.0 % [−9.0 %, −1.0 %]",
        "21.0 % [19.0 %, 24.0 %]",
        "12.0 % [10.0 %, 15.0 %]",
        "5.0 % [3.0 %, 8.0 %]",
        "rag-vote 4, icl 1",
    ]
    for sentence in (
        "22.0 % of 120 users have it worse as measured; 13.0 % can be expected to lose, 6.0 % surely.",
        "Its worst task is b: 5.0 % worse",
        "The gate's caution costs 0.8 % of the plain method's score (95 % interval −0.2 % to 2.0 %), 9.0 % of "
        "what hydra-ungated gains",
        "hydra's own choice passed the gate in 34.5 % of 300 requests (95 % interval 30.0 % to 40.0 %); the plain "
        "answers that were given: vote 150, greedy 50. 12.0 % of its answers are others than those "
        "of hydra-ungated, which is +0.004 better in accuracy (95 % interval −0.002 to +0.010).",
    ):
        assert sentence in page.words
    # Said once: what is best for everybody flatters prompting.
    assert "best for everybody, " not in page.words


def test_without_a_plain_method_nobody_is_said_to_be_made_worse(page):
    assert "Whom a method with a base makes worse is not known" in page.words
    assert "passed the gate" not in page.words


@pytest.mark.parametrize(
    ("relative", "words"),
    [
        (
            Interval(-0.05, -0.09, -0.01, 9),
            "hydra is 5.0 % worse than the prompt-based method that is best on other users",
        ),
        (Interval(0.05, -0.01, 0.09, 9), "(95 % interval \N{MINUS SIGN}1.0 % to 9.0 %), which may be chance."),
        (Interval(0.05, 0.01, float("inf"), 9), "(95 % interval 1.0 % to ∞)"),
    ],
)
def test_the_headline_is_as_good_as_it_is(relative, words):
    assert words in Page(render(ComparisonResult((bare_task(),), Headline(relative, None)))).words


def test_figures_are_there_with_words_for_who_cannot_see_them(page, result):
    figures = [about for tag, about in page.elements if tag == "svg"]
    assert len(figures) == 6 * len(result.tasks) + 1
    for about in figures:
        assert about["role"] == "img"
        assert len(about["aria-label"]) > 40
    lost = sum(user.gain < 0 for user in result.tasks[0].gains)
    assert f"{lost} of 60 users ({lost / 0.6:.1f} %) lose" in page.words


def test_ids_are_unique_and_the_contents_lead_to_tasks(page):
    ids = [about["id"] for _, about in page.elements if "id" in about]
    assert len(ids) == len(set(ids))
    links = [about["href"] for tag, about in page.elements if tag == "a"]
    assert links == ["#task-1", "#task-2"]
    assert {link[1:] for link in links} <= set(ids)


def test_the_page_needs_no_network_and_no_script(text, page):
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base"}
    for _, about in page.elements:
        for name in ("src", "href", "xlink:href", "action", "data", "srcset"):
            assert (about.get(name) or "#").startswith("#")
        assert not any(name.startswith("on") for name in about)
    # Names of XML dialects are addresses that nothing fetches.
    assert set(re.findall(r"https?://[^\s\"'<)]+", text)) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_headers_say_what_they_are_headers_of(page):
    headers = [about for tag, about in page.elements if tag == "th"]
    assert headers
    assert {about.get("scope") for about in headers} == {"col", "row", "rowgroup"}


def test_names_from_strangers_do_not_become_markup():
    evil = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
    task = made_task(evil, methods=("zero-shot", "rag", "hydra", evil))
    task = replace(
        task,
        split=evil,
        slices=tuple(replace(part, name=evil) for part in task.slices[:1]),
        missing={evil: 2},
        headline=replace(task.headline, chosen={evil: 5}),
    )
    page = Page(render(made_outcome(task, bare_task())))

    assert not [tag for tag, about in page.elements if tag in ("script", "img") or "onerror" in about]
    assert page.words.count(evil) >= 6


def test_what_is_not_known_says_what_would_tell_it():
    page = Page(render(ComparisonResult((bare_task(),), None)))

    assert len([tag for tag, _ in page.elements if tag == "svg"]) == 1
    for setting in ("evaluate.methods", "evaluate.train_users", "evaluate.seeds", "method.candidates"):
        assert setting in page.words
    assert "There is no headline" in page.words
    assert page.table("method")["zero-shot"][-6:] == ["\N{EN DASH}"] * 6


def test_an_outcome_of_nothing_is_a_page_too():
    assert "There is no headline" in Page(render(ComparisonResult((), None))).words


def test_no_gap_is_no_share():
    task = made_task()
    task = replace(task, headline=replace(task.headline, oracle_gap=None))
    page = Page(render(ComparisonResult((task, bare_task()), Headline(Interval(0.1, 0.0, 0.2, 5), None))))

    assert "there was nothing to choose" in page.words
    assert "no gap" in page.table("task")["LaMP_2M"]


def test_the_page_is_written_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    path = write_report(tmp_path / "new", ComparisonResult((bare_task(),), None))
    whole = path.read_text(encoding="utf-8")
    assert [one.name for one in path.parent.iterdir()] == ["report.html"]

    def fail(source, target):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(tmp_path / "new", ComparisonResult((), None))
    assert path.read_text(encoding="utf-8") == whole


def test_five_tasks_of_twenty_methods_stay_below_a_megabyte():
    methods = (*METHODS, *(f"method-{place}" for place in range(8)))
    tasks = [made_task(f"LaMP_{place}", "generation", methods, users=2000, seed=place) for place in range(5)]

    assert len(render(made_outcome(*tasks)).encode()) < 1_000_000
