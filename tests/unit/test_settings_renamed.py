"""Settings that got other names: files of before work, with a warning, and what was kept under them stays good."""

import logging
from pathlib import Path

import pytest

from hydra_ray.learn.collect.store import FeedbackStore
from hydra_ray.records import HydraError
from hydra_ray.settings import Settings, load_settings, parse_settings
from hydra_ray.settings.files.read import SettingsError
from hydra_ray.settings.files.renamed import FIRST_NAMES, MOVED, RENAMED, with_first_names

OLD = {
    "feedback": {"askers": 2},
    "method": {"evidence": 3},
    "profile": {"prompts": {"told": "Known: $profile"}},
    "model": {"store": "sqlite:///a.db", "dir": "m"},
}


def test_old_names_are_read_as_the_new_ones_with_a_warning_each(caplog):
    with caplog.at_level(logging.WARNING):
        settings = parse_settings(OLD, "mine.yaml")
    assert (settings.feedback.labelers, settings.method.history_answers) == (2, 3)
    assert settings.profile.prompts.telling == "Known: $profile"
    assert (settings.store_url, settings.model_dir) == ("sqlite:///a.db", Path("m"))
    assert "mine.yaml: method.evidence is called method.history_answers now" in caplog.text
    assert "mine.yaml: model.store is called store.url now" in caplog.text
    assert len(caplog.records) == len(RENAMED) + len(MOVED)


def test_old_names_work_in_overrides_too(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("method: {shots: 1}\n")
    assert load_settings(path, ["method.evidence=5"]).method.history_answers == 5


def test_a_setting_under_both_names_is_refused():
    with pytest.raises(SettingsError, match=r"method\.evidence: no such setting"):
        parse_settings({"method": {"evidence": 3, "history_answers": 4}})
    with pytest.raises(SettingsError, match=r"^mine.yaml: model\.store and store\.url are the same setting") as caught:
        parse_settings({"model": {"store": "sqlite:///a.db"}, "store": {"url": "sqlite:///a.db"}}, "mine.yaml")
    assert "\n" not in str(caught.value)


def test_what_went_to_another_section_joins_what_is_there():
    settings = parse_settings({"model": {"store": "postgresql://db/users"}, "store": {"max_connections": 9}})
    assert (settings.store.url, settings.store.max_connections) == ("postgresql://db/users", 9)
    with pytest.raises(SettingsError, match="store"):
        parse_settings({"model": {"store": "sqlite:///a.db"}, "store": "text"})


@pytest.mark.parametrize("section", ["text", None, [1]])
def test_what_is_no_section_is_left_to_the_check_of_settings(section):
    with pytest.raises(SettingsError, match="method"):
        parse_settings({"method": section})


def test_new_names_are_settings_and_old_ones_are_not():
    for old, new in (RENAMED | MOVED).items():
        node = Settings()
        *sections, last = new.split(".")
        for name in sections:
            node = getattr(node, name)
        assert hasattr(node, last)
        assert old in MOVED or not hasattr(node, old.rpartition(".")[2])


def test_fingerprints_see_the_first_names_in_their_old_places():
    dumped = Settings().model_dump(mode="json")
    named = with_first_names(dumped)
    assert list(named["method"]) == [
        FIRST_NAMES.get(f"method.{key}", f"method.{key}").rpartition(".")[2] for key in dumped["method"]
    ]
    assert named["feedback"]["askers"] == 1


def test_feedback_collected_under_the_old_names_is_gone_on_with(tmp_path):
    (tmp_path / "asked_with.json").write_text('{"method.evidence": 24, "method.shots": 4}')
    store = FeedbackStore(tmp_path)
    store.keep_to({"method.history_answers": 24, "method.shots": 4})
    with pytest.raises(HydraError, match="history_answers was 24 and is 8"):
        store.keep_to({"method.history_answers": 8, "method.shots": 4})
