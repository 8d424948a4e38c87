import pytest
from pydantic import ValidationError

from hydra_ray.learn.heads.tuned import fit_with
from hydra_ray.learn.tune.space import SearchSettings, load_search
from hydra_ray.settings import FitSettings, SettingsError


def search(**values):
    return SearchSettings.model_validate({"space": {"lr": {"low": 0.01, "high": 0.1}}, **values})


def test_values_are_set_by_their_paths_and_the_rest_stays():
    fit = FitSettings(pull=0.3)
    changed = fit_with(fit, {"head.kind": "bases", "head.rank": 3, "lr": 0.5, "prior_weight": 2.0})
    assert (changed.head.kind, changed.head.rank, changed.lr, changed.pull) == ("bases", 3, 0.5, 0.3)
    assert fit_with(fit, {}) == fit


@pytest.mark.parametrize("values", [{"lr": -1.0}, {"head.kind": "none"}, {"head.rank": 2.5}])
def test_values_that_cannot_be_set_are_refused(values):
    with pytest.raises(ValidationError):
        fit_with(FitSettings(), values)


@pytest.mark.parametrize("path", ["rate", "head.size", "head.kind.name"])
def test_settings_that_there_are_not_are_refused(path):
    with pytest.raises((KeyError, TypeError)):
        fit_with(FitSettings(), {path: 1})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"space": {"rate": {"choice": [1]}}}, r"space\.rate: 1: no setting of fit"),
        ({"space": {"lr": {"choice": [0.1, -2]}}}, r"space\.lr: -2: Input should be greater than 0"),
        ({"space": {"lr": {"low": 0.1}}}, "either choice"),
        ({"space": {"lr": {"low": 0.1, "high": 0.2, "choice": [1]}}}, "either choice"),
        ({"space": {"lr": {"low": 0.2, "high": 0.1}}}, "low is more than high"),
        ({"space": {"pull": {"low": 0.0, "high": 0.1, "log": True}}}, "log of a range"),
        ({"space": {"steps": {"choice": [10]}}}, "searched by epochs"),
        ({"roles": ["generator"]}, "adapter and reranker"),
        ({"cohorts": {"amounts": {"some": 4}}}, "begin at 0"),
        ({"trails": 3}, "Extra inputs"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused_with_its_reason(values, message):
    with pytest.raises(ValidationError, match=message):
        search(**values)


def test_all_errors_of_a_file_come_at_once_with_their_paths(tmp_path):
    path = tmp_path / "search.yaml"
    path.write_text("trials: 0\nepochs: none\nspace: {lr: {low: 1}}\n")
    with pytest.raises(SettingsError) as caught:
        load_search(path)
    for part in (str(path), "trials:", "epochs:", "space.lr:"):
        assert part in str(caught.value)


def test_cohorts_may_stand_in_a_file_beside_the_search(tmp_path):
    (tmp_path / "groups.yaml").write_text("clusters: 5\n")
    (tmp_path / "search.yaml").write_text("cohorts: groups.yaml\nspace: {lr: {choice: [0.1]}}\n")
    assert load_search(tmp_path / "search.yaml").cohorts.clusters == 5


@pytest.mark.parametrize(("text", "message"), [("[1]", "keys and values"), ("a: [", "not valid YAML")])
def test_a_file_that_is_no_search_is_named(tmp_path, text, message):
    path = tmp_path / "search.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=message):
        load_search(path)
    with pytest.raises(SettingsError, match="absent"):
        load_search(tmp_path / "absent.yaml")
