"""In every Serve config that comes with hydra-ray, whoever is let in finds room at every step."""

from copy import deepcopy

import pytest
import yaml
from code_blocks import ROOT

from hydra_ray.serve.limits.fitting import APP, ENGINE_APP, misfits

LOCAL = {"applications": [{"name": "hydra", "import_path": APP, "args": {}}]}


def configs():
    """Every config of a folder that has any: a file by itself, or `serveConfigV2` in a manifest."""
    for path in sorted([*ROOT.glob("deployments/*.yaml"), *ROOT.glob("k8s/**/*.yaml")]):
        for tree in yaml.load_all(path.read_text(encoding="utf-8"), yaml.CSafeLoader):
            if "applications" in tree:
                yield pytest.param(tree, id=path.name)
            elif "serveConfigV2" in tree.get("spec", {}):
                yield pytest.param(yaml.safe_load(tree["spec"]["serveConfigV2"]), id=str(path.relative_to(ROOT)))


def test_every_config_is_looked_at():
    files = {path for folder in ("deployments", "k8s") for path in ROOT.glob(f"{folder}/**/*.yaml")}
    naming = [path for path in files if f"import_path: {APP}" in path.read_text(encoding="utf-8")]
    found = [one.id for one in configs()]
    assert len(found) == len(set(found)) == len(naming) >= 8


@pytest.mark.parametrize("config", list(configs()))
def test_limits_fit(config):
    assert misfits(config) == []


def with_deployment(**override):
    config = deepcopy(LOCAL)
    config["applications"][0]["deployments"] = [override]
    return config


@pytest.mark.parametrize(
    ("override", "asks"),
    [
        ({"name": "Ingress", "max_ongoing_requests": 1000}, "Ingress asks Generator up to 3000 times at once"),
        (
            {"name": "Generator", "max_ongoing_requests": 8, "max_queued_requests": 1},
            "Ingress asks Generator up to 96 times",
        ),
        ({"name": "Ingress", "num_replicas": 9, "max_ongoing_requests": 200}, "Ingress asks Adapter up to 1800 times"),
        # Ray makes up to a hundred replicas of `auto`.
        (
            {"name": "Ingress", "num_replicas": "auto", "max_ongoing_requests": 99},
            "Ingress asks Generator up to 29700 times",
        ),
        (
            {"name": "Ingress", "autoscaling_config": {"max_replicas": 3}, "max_ongoing_requests": 100},
            "Ingress asks Generator up to 900 times at once",
        ),
    ],
)
def test_what_does_not_fit_is_named(override, asks):
    assert misfits(LOCAL) == []
    found = misfits(with_deployment(**override))
    assert any(line.startswith(asks) for line in found), found


def test_each_prompt_of_a_mix_is_a_call_of_the_generator_and_each_retriever_one_of_the_retriever():
    config = with_deployment(name="Ingress", max_ongoing_requests=200)
    mix = [{"prompt": name, "samples": 2} for name in ("zero-shot", "recent", "bm25", "reranked")]
    config["applications"][0]["args"] = {"method": {"prompts": mix, "rerank": True}}
    found = misfits(config)
    assert any(line.startswith("Ingress asks Generator up to 800 times at once") for line in found), found
    assert any(line.startswith("Ingress asks Retriever up to 400 times at once") for line in found), found


def test_a_task_of_texts_asks_in_three_prompts_and_any_config_has_room_for_it():
    tight = {"name": "Generator", "max_ongoing_requests": 48, "max_queued_requests": 24}
    config = with_deployment(**tight)
    (line,) = misfits(config)
    assert line.startswith("Ingress asks Generator up to 96 times at once"), line
    config["applications"][0]["args"] = {"method": {"prompts": []}}
    assert misfits(config) == []


def test_a_reranker_is_looked_at_where_there_is_one():
    config = with_deployment(name="Ingress", num_replicas=9, max_ongoing_requests=200)
    assert not any("Reranker" in line for line in misfits(config))
    config["applications"][0]["args"] = {"method": {"rerank": True}}
    found = misfits(config)
    assert any(line.startswith("Ingress asks Reranker up to 1800 times") for line in found), found


def test_any_number_of_calls_fits_a_queue_without_an_end():
    endless = with_deployment(name="Generator", max_queued_requests=-1)
    endless["applications"][0]["deployments"].append({"name": "Ingress", "max_ongoing_requests": 60})
    assert misfits(endless) == []


def test_an_engine_has_room_for_what_the_generator_asks_and_for_more_of_it_by_dialect():
    def engine(samples, ongoing, queued, **method):
        dialect = {"generator": {"backend": "vllm", "dialect": {"samples": samples}}, "method": method}
        vllm = {"max_ongoing_requests": ongoing, "max_queued_requests": queued}
        return {
            "applications": [
                {"name": "hydra", "import_path": APP, "args": dialect},
                {"name": "llm", "import_path": ENGINE_APP, "args": {"generator": {"backend": "vllm", "vllm": vllm}}},
            ]
        }

    # The greedy answer, and the samples.
    assert misfits(engine(None, 32, 32, prompts=[])) == []
    (line,) = misfits(engine(1, 32, 32, prompts=[]))
    assert line.startswith("Generator asks Engine up to 256 times at once")
    (line,) = misfits(engine(None, 16, 16))
    assert line.startswith("Generator asks Engine up to 64 times at once")
    mix = [{"prompt": name, "samples": 2} for name in ("zero-shot", "recent", "bm25", "reranked")]
    found = misfits(engine(1, 8, 8, prompts=mix, rerank=True))
    assert any(line.startswith("Generator asks Engine up to 64 times at once") for line in found), (
        "two samples a call are two requests"
    )
