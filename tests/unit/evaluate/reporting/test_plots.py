import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from made_outcome import CONTROLS, METHODS, ComparisonResult, bare_task, interval, made_outcome, made_task
from matplotlib.colors import to_hex

from hydra_ray.bootstrap import Interval
from hydra_ray.evaluate.reporting import plots, svg
from hydra_ray.evaluate.results import Bin, CurvePoint, UserGain


@pytest.fixture(autouse=True)
def page_style():
    with svg.style():
        yield


def marks(axes) -> dict[float, tuple[float, str, str]]:
    """By row: value, marker and colour of the single marks."""
    lines = [line for line in axes.lines if line.get_marker() != "None" and len(line.get_xdata()) == 1]
    return {
        line.get_ydata()[0]: (line.get_xdata()[0], line.get_marker(), to_hex(line.get_color()).upper())
        for line in lines
    }


def rows(axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def test_each_method_has_one_mark_at_its_value_and_one_whisker():
    task = made_task()
    (axes,) = plots.methods(task).axes

    found = marks(axes)
    assert sorted(rows(axes)) == sorted(METHODS)
    assert {name: found[place][0] for place, name in enumerate(rows(axes))} == {
        name: metrics["accuracy"].value for name, metrics in task.methods.items()
    }
    ends = [
        tuple(line.get_xdata())
        for line in axes.lines
        if line.get_marker() == "None" and len(set(line.get_ydata())) == 1
    ]
    for metrics in task.methods.values():
        assert (metrics["accuracy"].low, metrics["accuracy"].high) in ends


def test_hydra_competitors_and_controls_differ_by_marker_and_by_colour():
    (axes,) = plots.methods(made_task()).axes

    kinds = {name: marks(axes)[place][1:] for place, name in enumerate(rows(axes))}
    assert kinds["hydra"] == ("D", plots.HYDRA)
    assert kinds["rag"] == ("o", plots.COMPETITOR)
    assert {kinds[name] for name in CONTROLS} == {("s", plots.CONTROL)}


@pytest.mark.parametrize(("kind", "best_is_most"), [("classification", True), ("rating", False)])
def test_the_best_is_on_top_and_controls_come_last(kind, best_is_most):
    (axes,) = plots.methods(made_task(kind=kind)).axes

    values = [marks(axes)[place][0] for place in range(len(METHODS))]
    competitors = values[: -len(CONTROLS)]
    assert competitors == sorted(competitors, reverse=best_is_most)
    assert set(rows(axes)[-len(CONTROLS) :]) == set(CONTROLS)


def test_the_headline_has_a_row_for_each_task_and_one_for_the_mean():
    result = made_outcome(made_task("a"), made_task("b"), bare_task())
    (axes,) = plots.gain_by_task(result).axes

    assert rows(axes) == ["a", "b", "mean of tasks"]
    assert marks(axes)[0][0] == pytest.approx(9.1)
    assert marks(axes)[2][0] == pytest.approx(8.73)


def test_an_interval_without_an_end_is_drawn_to_the_value():
    endless = replace(made_task(), methods={"rag": {"accuracy": Interval(0.5, 0.4, float("inf"), 10)}})
    (axes,) = plots.methods(endless).axes

    assert [0.4, 0.5] in [list(line.get_xdata()) for line in axes.lines]


def test_history_shows_both_methods_on_every_slice():
    task = made_task()
    slices = [part for part in task.slices if part.by == "history"]
    (axes,) = plots.by_history(slices, ["hydra", "rag"], "accuracy").axes

    curves = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert curves == {name: [part.methods[name].value for part in slices] for name in ("hydra", "rag")}
    assert next(label.get_text() for label in axes.get_xticklabels()) == "1 to 5\n12 users"


@pytest.mark.parametrize("users", [1, 7, 5000])
def test_users_gains_are_bars_on_both_sides_of_zero(users):
    gains = np.linspace(-0.3, 0.7, users) if users > 1 else np.array([-0.3])
    figure = plots.user_gains([UserGain(str(place), gain, 1, 1) for place, gain in enumerate(gains)], "accuracy")

    above, below = (patch.get_data().values for patch in figure.axes[0].patches)
    assert len(above) == min(users, 240)
    assert np.all(above >= 0)
    assert np.all(below <= 0)
    # As many in a hundred lose as do.
    assert np.mean(below < 0) == pytest.approx(np.mean(gains < 0), abs=0.01)
    assert (below.min(), above.max()) == (gains.min(), max(gains.max(), 0))


def test_calibration_shows_bins_diagonal_and_counts():
    bins = [Bin(0.2, 0.1, 30), Bin(0.7, 0.9, 50), Bin(0.9, 0.0, 0)]
    axes, counts = plots.calibration(bins).axes

    diagonal, observed = axes.lines
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [0, 1]
    assert observed.get_xydata().tolist() == [[0.2, 0.1], [0.7, 0.9]]
    assert [segment[1][1] for segment in counts.collections[0].get_segments()] == [30, 50]


def test_a_curve_has_its_points_as_ticks_and_the_prompted_method_as_a_level():
    points = [CurvePoint(x, interval(0.4 + x / 100)) for x in (1, 2, 4, 6)]
    (axes,) = plots.curve(points, "candidates", "accuracy", ("rag", interval(0.43))).axes

    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "4", "6"]
    curve, level = axes.lines
    assert list(curve.get_ydata()) == pytest.approx([0.41, 0.42, 0.44, 0.46])
    assert (level.get_label(), level.get_ydata()[0]) == ("rag", 0.43)


def test_nothing_to_draw_gives_no_figure():
    assert plots.gain_by_task(ComparisonResult((), None)) is None
    assert plots.methods(replace(bare_task(), methods={})) is None
    assert plots.by_history([], ["hydra"], "mae") is None
    assert plots.user_gains([], "mae") is None
    assert plots.calibration([Bin(0.5, 0.5, 0)]) is None
    assert plots.curve([], "x", "mae", None) is None


def test_inline_svg_points_only_at_itself_and_is_labelled():
    figure = plots.curve([CurvePoint(1, interval(0.4)), CurvePoint(2, interval(0.5))], "x", "mae", None)
    text = svg.inline(figure, 'curve of "mae" & more', "p7")

    root = ElementTree.fromstring(text)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == 'curve of "mae" & more'
    ids = {element.get("id") for element in root.iter()} - {None}
    pointers = set(re.findall(r'(?:url\(|href=")#([\w-]+)', text))
    assert pointers
    assert pointers == ids
    assert all(name.startswith("p7-") for name in ids)
    assert "currentColor" in text
    assert svg.INK not in text
    assert "<!DOCTYPE" not in text


def test_names_are_drawn_as_they_are_written():
    evil = "<script>alert($1)</script> & a $x$"
    text = svg.inline(plots.methods(made_task(methods=("rag", evil))), "methods", "m")

    assert evil in [element.text for element in ElementTree.fromstring(text).iter()]


def test_the_same_figure_gives_the_same_bytes():
    first, second = (svg.inline(plots.methods(made_task()), "methods", "m") for _ in range(2))

    assert first == second
