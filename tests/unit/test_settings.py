import re
from pathlib import Path

import pytest
import yaml

from hydra_ray.methods import METHODS
from hydra_ray.settings import Settings, SettingsError, load_settings, parse_settings, settings_table
from hydra_ray.store.connections.target import StoreTarget

DEMO = Path(__file__).parents[2] / "hydra_ray" / "demo.yaml"


def complaint(*arguments):
    with pytest.raises(SettingsError) as caught:
        load_settings(*arguments)
    return str(caught.value)


def test_without_anything_there_are_defaults():
    settings = load_settings(None)
    assert settings == Settings()
    assert (settings.method.retrieve, settings.method.shots, settings.method.candidates) == (10, 4, 8)
    assert settings.generator.cache is None


def test_places_follow_the_output_folder_unless_told():
    settings = load_settings(None, ["out=runs/a"])
    assert (settings.model_dir, settings.feedback_dir) == (Path("runs/a/model"), Path("runs/a/feedback"))
    assert settings.store_url == "sqlite:///runs/a/users.db"
    assert settings.store_target.former == Path("runs/a/model/users.db")
    told = load_settings(None, ["out=runs/a", "model.dir=m", "feedback.dir=f", "store.url=postgresql://db/users"])
    assert (told.model_dir, told.feedback_dir) == (Path("m"), Path("f"))
    assert told.store_target == StoreTarget("postgresql://db/users", None, None, 32, None)


def test_overrides_are_typed_as_yaml_and_win_over_the_file(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("seed: 1\nbase:\n  epochs: 7\n  workers: 2\n")
    settings = load_settings(
        path,
        [
            "seed=3",
            "base.epochs=9",
            "base.lr=5e-5",
            "base.gpu=true",
            "data.max_users=null",
            "data.labels=[calm, loud]",
            "generator.base_url=http://x/v1?a=b",
            "tenant='007'",
        ],
    )
    assert (settings.seed, settings.base.epochs, settings.base.workers) == (3, 9, 2)
    # PyYAML reads "5e-5" as text.
    assert settings.base.lr == 5e-5
    assert settings.base.gpu is True
    assert settings.data.max_users is None
    assert settings.data.labels == ("calm", "loud")
    assert settings.generator.base_url == "http://x/v1?a=b"
    assert settings.tenant == "007"


def test_all_errors_are_told_at_once_with_their_paths(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump({"base": {"epochs": 0, "lr": "fast"}, "sed": 1}))
    told = complaint(path, ["data.spilt=dev", "fit.mode=magic"])
    assert told.startswith(f"{path}: 5 setting(s) to mend:\n")
    lines = dict(re.findall(r"^  ([\w.]+): (.*)$", told, re.MULTILINE))
    assert set(lines) == {"base.epochs", "base.lr", "sed", "data.spilt", "fit.mode"}
    assert lines["sed"] == lines["data.spilt"] == "no such setting (a typo?)"
    assert lines["base.epochs"].endswith("(got 0)")
    assert "'zero-call'" in lines["fit.mode"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"seed: [1", "not valid YAML"),
        (b"caf\xe9: 1", "byte 3 is not UTF-8. Save the file as UTF-8."),
        (b"- seed", "settings are a mapping of sections, not a list"),
    ],
)
def test_a_file_that_is_no_settings_is_named(tmp_path, content, told):
    path = tmp_path / "s.yaml"
    path.write_bytes(content)
    assert complaint(path).startswith(f"{path}: {told}")


def test_an_empty_file_means_defaults(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("# nothing yet\n")
    assert load_settings(path) == Settings()


def test_a_missing_file_is_named(tmp_path):
    assert (
        complaint(tmp_path / "s.yaml")
        == f"{tmp_path / 's.yaml'}: the settings file cannot be read: No such file or directory"
    )


def test_a_folder_instead_of_a_file_is_named(tmp_path):
    assert str(tmp_path) in complaint(tmp_path)


def test_a_section_left_empty_means_its_defaults(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("data:\n  # task: LaMP_2M\n")
    assert load_settings(path, ["data.split=dev"]).data.split == "dev"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("data.split", "write it as key=value"),
        ("=dev", "write it as key=value"),
        ("data.split=[dev", "the value is not valid YAML"),
    ],
)
def test_an_override_that_cannot_be_read_is_quoted(override, told):
    assert complaint(None, [override]).startswith(f'override "{override}": {told}')


def test_an_override_cannot_reach_into_a_value():
    assert complaint(None, ["seed=1", "seed.x=2"]) == 'override "seed.x=2": "seed" holds a value, not a section'


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"format": "lamp", "path": "r.jsonl"}, "data.path belongs to data.format=records"),
        ({"format": "records"}, "data.format=records needs data.path"),
    ],
)
def test_a_place_that_does_not_fit_the_format_is_refused(data, told):
    with pytest.raises(SettingsError, match=told):
        parse_settings({"data": data})


@pytest.mark.parametrize("backend", ["embedded", "vllm"])
@pytest.mark.parametrize(
    "more", [{"limits": {"requests_per_minute": 60}}, {"limits": {"tokens_per_minute": 60}}, {"fallbacks": [{}]}]
)
def test_what_only_endpoints_have_is_not_ignored_elsewhere(backend, more):
    parse_settings({"generator": {"backend": "openai", **more}})
    with pytest.raises(SettingsError, match=r"generator: .* are for backend openai"):
        parse_settings({"generator": {"backend": backend, **more}})


def test_a_budget_of_money_needs_prices():
    with pytest.raises(SettingsError, match=r"generator\.limits: .* set at least one"):
        parse_settings({"generator": {"limits": {"cost": 5}}})
    assert parse_settings({"generator": {"limits": {"cost": 5, "price_out": 1}}}).generator.limits.cost == 5


def test_the_demos_settings_are_valid():
    assert load_settings(DEMO).data.format == "simulated"


def test_what_is_known_before_weighs_by_role_as_told_or_as_learnt():
    for rank, vote in ((0.5, None), (None, 0.0)):
        told = parse_settings({"method": {"rank_weight": rank, "vote_weight": vote}}).method
        assert told.prior_weights == {"reranker": rank, "adapter": vote}


def test_a_reranker_is_wanted_by_who_says_so_and_by_the_paper():
    assert not parse_settings({}).method.rerank
    # What was made before there was the setting stays what it is by its fingerprint, as far as no reranker counts.
    assert "rerank" not in parse_settings({}).method.model_dump(mode="json")
    assert parse_settings({"method": {"rerank": True}}).method.model_dump(mode="json")["rerank"] is True
    assert all(parse_settings({"preset": preset}).method.rerank for preset in ("paper", "mof"))


def test_a_mix_that_shows_what_is_reranked_wants_a_reranker():
    mix = [{"prompt": "reranked", "samples": 8}]
    with pytest.raises(SettingsError, match=r"method: .*prompts name reranked: set rerank to true"):
        parse_settings({"method": {"prompts": mix}})
    assert parse_settings({"method": {"prompts": mix, "rerank": True}}).method.mix[0].prompt == "reranked"


def test_the_paper_reads_encodings_alone_and_no_votes():
    paper = parse_settings({"preset": "paper"})
    assert (paper.base.encoder.trained_layers, paper.base.lexical) == (None, False)
    assert (paper.method.allowed_answers, paper.method.prior_weights) == (0, {"reranker": 0, "adapter": 0})


def test_a_preset_may_stand_on_another_one_and_the_file_on_both():
    mof = parse_settings({"preset": "mof", "base": {"epochs": 3}})
    assert (mof.fit.head.kind, mof.base.lr, mof.base.epochs) == ("facets", 5e-5, 3)
    assert (mof.base.loss, mof.method.decide, mof.method.greedy) == ("bce", "preferred", False), "of preset paper"


def test_a_stemmer_that_there_is_not_is_refused_with_those_that_there_are():
    with pytest.raises(SettingsError, match=r"method.stemmer: .*no stemmer 'klingon'; there are .*english.*german"):
        parse_settings({"method": {"stemmer": "klingon"}})


@pytest.mark.parametrize(
    ("method", "told"),
    [
        (
            {"prompts": [{"prompt": "nearest", "samples": 8}]},
            r"method\.prompts.*no prompt 'nearest'; .* zero-shot, bm25",
        ),
        ({"prompts": [{"prompt": "bm25", "samples": 4}] * 2}, r"method\.prompts: .*bm25 stands there twice"),
        ({"prompts": [{"prompt": "bm25", "samples": 6}]}, r"method: .*add up to 6 and candidates is 8"),
        ({"prompts": [{"prompt": "profile", "samples": 8}]}, r"method: .*say in profile which kind"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(method, told):
    with pytest.raises(SettingsError, match=told):
        parse_settings({"method": method})


def test_all_that_is_wrong_with_prompts_is_told_at_once():
    mix = [{"prompt": "bm52", "samples": 0}, {"prompt": "profile", "samples": 1, "greed": True}]
    with pytest.raises(SettingsError) as refused:
        parse_settings({"method": {"prompts": mix}})
    assert all(place in str(refused.value) for place in ("prompts.0.prompt", "prompts.0.samples", "prompts.1.greed"))
    both = {"prompts": [{"prompt": "profile", "samples": 3}]}
    with pytest.raises(SettingsError, match=r"add up to 3 .*; .*say in profile"):
        parse_settings({"method": both})


def test_settings_of_one_prompt_are_written_as_before_there_were_several():
    assert "prompts" not in parse_settings({"method": {"prompts": []}}).method.model_dump(mode="json")
    assert parse_settings({}).method.model_dump(mode="json")["prompts"] is None
    mix = [{"prompt": "bm25", "samples": 8, "greedy": False}]
    assert parse_settings({"method": {"prompts": mix}}).method.model_dump(mode="json")["prompts"] == mix


@pytest.mark.parametrize("preset", ["paper", "mof", "dpl"])
def test_presets_name_methods_that_there_are(preset):
    assert set(parse_settings({"preset": preset}).evaluate.methods) <= set(METHODS)


def test_every_setting_is_listed_with_its_default_and_what_it_is():
    table = settings_table()
    paths, defaults, meanings = (list(column.cells) for column in table.columns)
    assert "" not in meanings
    assert dict(zip(paths, defaults, strict=True))["base.encoder.trained_layers"] == "0"
    assert set(settings_table("evaluate").columns[0].cells) == {path for path in paths if path.startswith("evaluate.")}
    with pytest.raises(SettingsError, match="methods: there is no such"):
        settings_table("methods")


@pytest.mark.parametrize("section", ["params", "extra_body"])
@pytest.mark.parametrize(
    "name", ["model", "messages", "n", "temperature", "max_tokens", "max_completion_tokens", "seed", "stream"]
)
def test_what_hydra_ray_sets_itself_is_no_further_parameter(section, name):
    with pytest.raises(SettingsError, match=f"generator: .*{section}: {name} cannot be set here"):
        parse_settings({"generator": {"backend": "openai", section: {name: 1}}})


def test_further_parameters_are_of_endpoints_and_named_once():
    told = {"backend": "openai", "params": {"top_p": 0.5}, "extra_body": {"top_k": 3}}
    assert parse_settings({"generator": told}).generator.further_params == {"top_p": 0.5, "top_k": 3}
    with pytest.raises(SettingsError, match="top_p is in both params and extra_body"):
        parse_settings({"generator": {**told, "extra_body": {"top_p": 0.5}}})
    for name, value in (("params", {"top_p": 0.5}), ("extra_body", {"x": 1}), ("reasoning_tokens", 9)):
        with pytest.raises(SettingsError, match=f"{name} is for backends openai and vllm"):
            parse_settings({"generator": {name: value}})
    with pytest.raises(SettingsError, match=r"generator\.dialect\.max_tokens"):
        parse_settings({"generator": {**told, "dialect": {"max_tokens": "max_output_tokens"}}})


def test_anchored_settings_mean_the_same_files_wherever_they_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = {"backend": "openai", "api_key_file": "key", "fallbacks": [{"api_key_file": "other"}, {}], "model": "m"}
    settings = parse_settings(
        {"out": "runs", "generator": generator, "store": {"url": "sqlite:///users.db", "password_file": "p"}}
    )
    anchored = settings.anchored()
    monkeypatch.chdir("/")
    assert (anchored.out, anchored.answers_dir) == (tmp_path / "runs", tmp_path / "runs/answers")
    assert (anchored.model_dir, anchored.feedback_dir) == (tmp_path / "runs/model", tmp_path / "runs/feedback")
    assert anchored.store_url == f"sqlite:///{tmp_path}/users.db"
    assert anchored.store.password_file == tmp_path / "p"
    keys = [one.api_key_file for one in (anchored.generator, *anchored.generator.fallbacks)]
    assert keys == [tmp_path / "key", tmp_path / "other", None]
    assert anchored.registry_url == f"{tmp_path}/runs/model/registry"
    assert anchored.anchored() == anchored
    elsewhere = {"store": {"url": "postgresql://db/users"}, "registry": {"url": "s3://bucket/models"}}
    elsewhere = parse_settings(elsewhere).anchored()
    assert (elsewhere.store_url, elsewhere.registry_url) == ("postgresql://db/users", "s3://bucket/models")
    # Where no URL is told, an earlier store is looked for wherever the settings are read.
    assert Settings().anchored().store_target.former == Path("/runs/default/model/users.db")


def test_a_password_is_told_in_one_place():
    url = "postgresql+psycopg://ann:secret@db/users"
    for store in ({"url": url, "password_env": "P"}, {"password_file": "p", "password_env": "P"}):
        with pytest.raises(SettingsError, match=r"the password is told by .* one of them is enough") as caught:
            parse_settings({"store": store})
        assert "secret" not in str(caught.value)
