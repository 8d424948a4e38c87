"""What a gain costs, on the demo's model and a few of its users."""

import json

import pytest
from rich.console import Console

from hydra_ray.evaluate.curves.measure import measure_curves
from hydra_ray.evaluate.curves.report import curve_tables
from hydra_ray.evaluate.results import TaskResult
from hydra_ray.progress import SILENT
from hydra_ray.settings import Settings
from hydra_ray.store.backends import open_store


@pytest.fixture(scope="module")
def settings(demo_settings: Settings, tmp_path_factory) -> Settings:
    data = demo_settings.data.model_copy(update={"split": "dev", "max_users": 8})
    wanted = {"curve_calls": (0, 10), "curve_history": (0, 6), "curve_history_calls": 8, "bootstrap": 200}
    model = demo_settings.model.model_copy(update={"dir": demo_settings.model_dir})
    changes = {
        "data": data,
        "model": model,
        "out": tmp_path_factory.mktemp("curves"),
        "evaluate": demo_settings.evaluate.model_copy(update=wanted),
    }
    return demo_settings.model_copy(update=changes)


def test_curves_tell_what_calls_and_history_bring(demo_results: TaskResult, settings: Settings):
    store = open_store(settings.store_target)
    stored = store.histories(settings.tenant)
    curves = measure_curves(settings, SILENT)
    assert store.histories(settings.tenant) == stored, "nothing is stored"
    assert [point.x for point in curves.by_calls] == [0, 10]
    assert [point.x for point in curves.by_history] == [0, 6]
    free, paid = curves.by_calls
    assert free.calls == 0 < paid.calls <= 10
    for point in (*curves.by_calls, *curves.by_history):
        gain = point.score.value - point.prompted.value
        assert point.over_prompted.value == pytest.approx(gain)
        assert point.over_shared.value == pytest.approx(point.score.value - point.shared.value)
    nothing, some = curves.by_history
    assert nothing.calls == 0 < some.calls <= 8
    assert nothing.over_shared.value == 0, "nothing is known, so the shared head answers"
    assert some.score.value > nothing.score.value, "histories of six items help"
    assert json.loads((settings.out / "curves.json").read_text())["by_calls"][1]["x"] == 10
    assert (settings.out / "curves.png").read_bytes().startswith(b"\x89PNG")
    console = Console(record=True, width=160)
    console.print(*curve_tables(curves))
    assert "LLM calls a user" in console.export_text()
    store.close()
