"""`hydra-ray k8s render`: what is checked in is what it makes, settings go where they say, and mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from manifests import PROFILES, ROOT, container, rendered
from typer.testing import CliRunner

from hydra_ray.commands.k8s import k8s_app
from hydra_ray.k8s.render import render
from hydra_ray.k8s.settings import load_cluster_settings
from hydra_ray.records import HydraError


def run(*arguments: str):
    return CliRunner().invoke(k8s_app, ["render", *arguments])


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_checked_in_is_what_is_rendered(profile):
    folder = ROOT / "k8s" / profile
    there = {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in folder.rglob("*.yaml")}
    made = render(load_cluster_settings(profile))
    assert there.keys() == made.keys()
    for path, text in made.items():
        assert there[path] == text, f"k8s/{profile}/{path}: run make manifests"


def test_nothing_else_is_checked_in():
    assert {path.name for path in (ROOT / "k8s").iterdir()} == set(PROFILES)


@pytest.mark.parametrize("profile", PROFILES)
def test_two_renders_are_the_same(profile):
    assert list(render(load_cluster_settings(profile)).items()) == list(render(load_cluster_settings(profile)).items())


def test_a_kustomization_names_each_file_but_jobs(tmp_path):
    done = run("--profile", "dev", "--out", str(tmp_path / "made"))
    assert done.exit_code == 0, done.output
    named = set()
    folders = [tmp_path / "made", tmp_path / "made" / "monitoring"]
    while folders:
        folder = folders.pop()
        kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
        # Ready manifests: nothing is left to kustomize but to put them together.
        assert kustomization.keys() == {"apiVersion", "kind", "resources"}
        for resource in kustomization["resources"]:
            assert (folder / resource).exists(), resource
            if (folder / resource).is_dir():
                folders.append(folder / resource)
            else:
                named.add(folder / resource)
    files = {path for path in (tmp_path / "made").rglob("*.yaml") if path.name != "kustomization.yaml"}
    assert {path.parent.name for path in files - named} == {"jobs"}


def test_a_folder_loses_what_an_earlier_render_left(tmp_path):
    host = ["--set", "gateway.name=public", "--set", "gateway.host=hydra.example.com"]
    assert run("--profile", "openai", "--out", str(tmp_path), *host).exit_code == 0
    assert (tmp_path / "service" / "route.yaml").exists()
    own = [tmp_path / part / "own.yaml" for part in ("mine", ".", "service")]
    for file in own:
        file.parent.mkdir(exist_ok=True)
        file.write_text("a: 1")
    assert run("--profile", "openai", "--out", str(tmp_path)).exit_code == 0
    assert not (tmp_path / "service" / "route.yaml").exists()
    assert all(file.exists() for file in own), "no render made these"


def test_without_a_folder_all_objects_are_one_stream():
    done = run("--profile", "gpu")
    kinds = [thing["kind"] for thing in yaml.safe_load_all(done.stdout)]
    assert kinds == [thing["kind"] for thing in rendered("gpu").objects]
    assert "Kustomization" not in kinds


def test_a_file_goes_over_the_profile_and_single_settings_over_the_file(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("namespace: theirs\nworkers:\n  max_pods: 5\nnodes:\n  cpu_labels: {pool: hydra}\n")
    made = load_cluster_settings("openai", ["namespace=ours", "head.cpu=3"], file)
    assert (made.namespace, made.workers.max_pods, made.head.cpu) == ("ours", 5, 3)
    assert made.workers.min_pods == load_cluster_settings("openai").workers.min_pods
    assert made.nodes.cpu_labels == {"pool": "hydra"}


def test_settings_reach_the_objects():
    made = rendered(
        "openai",
        "image=registry.example.com/hydra:7",
        "namespace=ours",
        "name=replies",
        "secret=keys",
        "llm.base_url=https://llm.internal/v1",
        "llm.model=big",
        "postgresql.url=postgresql+psycopg://hydra@db.data.svc/hydra",
        "s3.models=s3://bucket/models",
        "s3.endpoint=http://minio.data.svc:9000",
        "storage.class_name=nfs",
        "storage.size=7Gi",
        "nodes.cpu_labels={pool: hydra}",
        "replicas.min=3",
        "pull_secrets=[registry]",
        "settings.serve.timeout_s=400",
    )
    assert {container(pod)["image"] for _, pod in made.pods()} == {"registry.example.com/hydra:7"}
    assert {pod["imagePullSecrets"][0]["name"] for _, pod in made.pods()} == {"registry"}
    assert all(
        thing["metadata"]["name"].startswith("replies") for thing in made.objects if thing["kind"] != "Namespace"
    )
    assert {thing["metadata"].get("namespace") for thing in made.objects} == {"ours", None}
    settings = made.served()
    assert (settings.generator.base_url, settings.generator.model) == ("https://llm.internal/v1", "big")
    assert settings.store_url == "postgresql+psycopg://hydra@db.data.svc/hydra"
    assert settings.registry_url == "s3://bucket/models"
    assert settings.serve.timeout_s == 400
    claim = made.one("PersistentVolumeClaim")["spec"]
    assert (claim["storageClassName"], claim["resources"]["requests"]["storage"]) == ("nfs", "7Gi")
    for where, pod in made.pods():
        if "submitter" not in where:
            assert pod["nodeSelector"] == {"pool": "hydra"}, where
            variables = {one["name"]: one for one in container(pod)["env"]}
            assert variables["AWS_ENDPOINT_URL"]["value"] == "http://minio.data.svc:9000"
            assert variables["OPENAI_API_KEY"]["valueFrom"]["secretKeyRef"] == {"name": "keys", "key": "OPENAI_API_KEY"}
    for one in made.serve_config["applications"][0]["deployments"]:
        assert one["autoscaling_config"]["min_replicas"] == 3


def test_a_serve_config_of_your_own_is_taken(tmp_path):
    file = tmp_path / "own.yaml"
    tree = yaml.safe_load((ROOT / "deployments" / "openai.yaml").read_text("utf-8"))
    tree["applications"][0]["args"]["generator"]["model"] = "mine"
    file.write_text(yaml.safe_dump(tree))
    assert rendered("openai", f"serve_config={file}").served().generator.model == "mine"


@pytest.mark.parametrize(
    ("profile", "overrides", "told"),
    [
        ("gpus", [], "--profile: there is no 'gpus'; there are openai, gpu, cluster, dev"),
        ("openai", ["workers.min_pods=9"], "workers: Value error, min_pods (9) is more than max_pods (8)"),
        ("openai", ["namespace=Mine"], "namespace: String should match pattern"),
        ("openai", ["name=" + "a" * 31], "name: String should have at most 30 characters"),
        ("openai", ["storage.size=ten"], "storage.size: String should match pattern"),
        ("openai", ["workers.memory=16G"], "workers.memory: String should match pattern"),
        ("openai", ["worker.cpu=2"], "worker: no such setting (a typo?)"),
        ("openai", ["refit.schedule=daily"], "refit.schedule: String should match pattern"),
        ("openai", ["gateway.host=a.example.com"], "gateway: Value error, name and host belong together"),
        ("openai", ["upgrade.type=NewClusterWithIncrementalUpgrade"], "gateway.class_name: an upgrade in steps needs"),
        ("cluster", ["upgrade.step_percent=50"], "upgrade: Value error, step_percent (50) is more than surge_percent"),
        ("openai", ["settings.serve.timeout=400"], "serve.timeout: no such setting (a typo?)"),
        ("openai", ["settings.auth.mode=off"], "settings.auth.mode: off answers the pod's own machine alone"),
        ("openai", ["learning.out=/data/other"], "learning: jobs would leave their work elsewhere"),
        ("openai", ["learning.data.path=null"], "data.format=records needs data.path"),
        ("openai", ["serve_config=azure"], "serve_config: there is no 'azure'; there are local, openai"),
        ("openai", ["serve_config=/nowhere/one.yaml"], "serve_config: /nowhere/one.yaml cannot be read: No such file"),
        ("openai", ["jobs.search=slow"], "jobs.search: there is no 'slow'; there are asked, cohorts, quick, thorough"),
        ("openai", ["replicas.min=9"], "replicas: Ingress would have a least that is more than the most"),
        ("dev", ["replicas.min=2"], "replicas: the Serve config has no deployments with autoscaling_config"),
        (
            "dev",
            ["storage.access_mode=ReadWriteMany"],
            "postgresql.url: the volume is for many nodes, and SQLite is for",
        ),
        ("gpu", ["llm.base_url=http://llm/v1"], "llm.base_url: the LLM of vllm-gpu is in the cluster: it has no URL"),
        ("openai", ["llm.base_url=http://llm:99999/v1"], "generator.base_url: the port of llm:99999 is none"),
        ("openai", ["llm.base_url=http://llm:abc/v1"], "generator.base_url: the port of llm:abc is none"),
        ("openai", ["llm.base_url=notaurl"], "generator.base_url: notaurl has no host"),
        ("cluster", ["redis.address=redis"], "redis.address: Value error, is host:port"),
        ("cluster", ["redis.address=redis:port"], "redis.address: Value error, is host:port"),
        ("openai", ["network.outside=foo"], "network.outside: Value error, addresses are told as a CIDR"),
        ("openai", ["network.outside=192.0.2.1/24"], "network.outside: Value error, 192.0.2.1/24 has host bits set"),
        ("openai", ["network.api_server=10.0.0.0/33"], "network.api_server: Value error"),
        ("openai", ["refit.schedule=61 25 * * *"], 'refit.schedule: "61" is no minute'),
        ("openai", ["refit.time_zone=Nowhere/Town"], 'refit.time_zone: there is no time zone "Nowhere/Town"'),
        ("openai", ["secret=Bad_Name"], "secret: String should match pattern"),
        ("openai", ["pull_secrets=[Bad_Name]"], "pull_secrets.0: String should match pattern"),
        ("openai", ["jobs.queue=a.b"], "jobs.queue: String should match pattern"),
        ("openai", ["storage.class_name=Fast"], "storage.class_name: String should match pattern"),
        ("openai", ["namespace"], 'override "namespace": write it as key=value'),
    ],
)
def test_a_mistake_is_one_that_is_named(profile, overrides, told):
    with pytest.raises(HydraError) as raised:
        render(load_cluster_settings(profile, overrides))
    assert told in str(raised.value)


def test_all_mistakes_are_told_at_once_with_their_paths():
    with pytest.raises(HydraError) as raised:
        load_cluster_settings("openai", ["namespace=Mine", "head.cpu=0", "jobs.retry=3"])
    assert [line.split(":")[0].strip() for line in str(raised.value).splitlines()[1:]] == [
        "namespace",
        "head.cpu",
        "jobs.retry",
    ]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("--profile", "dev", "--out", str(tmp_path / "file" / "made"))
    assert isinstance(done.exception, HydraError)
    assert str(done.exception).startswith("--out: ")


def test_what_a_profile_has_is_listed():
    done = CliRunner().invoke(k8s_app, ["settings", "--profile", "cluster", "redis"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    assert "redis.address" in done.output
    assert '"redis:6379"' in done.output
    assert "namespace" not in done.output


def test_sources_are_found_in_a_wheel_too(monkeypatch, tmp_path):
    from hydra_ray.k8s.render import sources

    package = tmp_path / "hydra_ray"
    (package / "deployments").mkdir(parents=True)
    (package / "deployments" / "inside.yaml").write_text("applications: []\n")
    monkeypatch.setattr(sources, "_PACKAGE", package)
    assert sources.serve_config("inside") == {"applications": []}


def test_a_wheel_has_what_manifests_are_made_of():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    for source, target in included.items():
        assert (ROOT / source).is_dir()
        assert Path(target).parent.name == "hydra_ray"
    assert included.keys() == {"deployments", "tune_configs"}
