"""Serve configs, command lines and settings that would fail in the pod are refused, each for its reason."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import typer
import yaml
from good import SERVE, checked, drop, objects, put
from hypothesis import given as any_of
from hypothesis import strategies as st

from hydra_ray.cli import app
from hydra_ray.k8s.check.content.program import CommandError, read_command
from hydra_ray.k8s.check.content.shell import ShellError, our_commands, words_of

HYDRA = "RayService/hydra"
APP = "applications.0"
SETTINGS = "/etc/hydra-ray/settings.yaml"


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        (put("http_option", {}), ".http_option", "Ray would ignore it"),
        (put("http_options.port", "http"), ".http_options.port", "Ray's ServeDeploySchema"),
        (put("http_options.host", "127.0.0.1"), ".http_options.host", "no other pod reaches 127.0.0.1"),
        (drop(f"{APP}.import_path"), ".applications[0].import_path", "Field required"),
        (put(f"{APP}.import_path", "hydra_ray.serve.app:buid"), ".applications[0].import_path", "hydra-ray has the"),
        (put(f"{APP}.args.generator.modle", "m"), ".applications[0].args.generator.modle", "a typo?"),
        (put(f"{APP}.args.serve", {"method": "hydr"}), ".applications[0].args", 'serve.method: there is no "hydr"'),
        (put(f"{APP}.args.auth", {"mode": "off"}), ".args.auth.mode", "use keys"),
        (
            put(f"{APP}.args.generator", {"backend": "vllm"}),
            ".applications[0].args.generator.vllm.app",
            'no application "llm"',
        ),
        (
            put(f"{APP}.deployments.0.name", "Ingres"),
            ".deployments[0].name",
            'no deployment "Ingres"; there are Adapter',
        ),
        (
            put(f"{APP}.args.method.rerank", False),
            ".deployments[1].name",
            'no deployment "Reranker"; there are Adapter',
        ),
        (put(f"{APP}.deployments.0.max_replicas", 3), ".deployments[0].max_replicas", "Ray would ignore it"),
        (
            put(f"{APP}.deployments.0.autoscaling_config.min_replicas", 5),
            "deployments[0].autoscaling_config",
            "Ray's AutoscalingConfig",
        ),
    ],
)
def test_a_broken_serve_config_is_refused_for_its_own_reason(change, path, said, tmp_path):
    config = yaml.safe_load(SERVE)
    change(config)
    given = objects()
    given[HYDRA]["spec"]["serveConfigV2"] = yaml.safe_dump(config)
    (problem,) = checked(given, tmp_path).problems
    assert problem.path.startswith("spec.serveConfigV2.")
    assert path in problem.path
    assert said in problem.text.replace("'", '"') or said in problem.text


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("", "nothing would be served"),
        ("applications: [", "not valid YAML"),
        ("- a", "a Serve config is a mapping"),
        ("applications: 5", "Ray's ServeDeploySchema"),
        ("applications: [{name: a, import_path: 'a:b', args: [1]}]", "Ray's ServeDeploySchema"),
        ("applications: []\napplications: []", "is there twice"),
    ],
)
def test_a_serve_config_that_cannot_be_read_is_refused(config, said, tmp_path):
    given = objects()
    given[HYDRA]["spec"]["serveConfigV2"] = config
    problems = checked(given, tmp_path).problems
    assert {problem.path.split(".application")[0] for problem in problems} == {"spec.serveConfigV2"}
    assert any(said in problem.text for problem in problems)


@pytest.mark.parametrize(
    ("entrypoint", "said"),
    [
        (f"hydra-ray colect {SETTINGS}", "No such command 'colect'"),
        (f"hydra-ray collect {SETTINGS} --dry", "No such option: --dry"),
        ("hydra-ray collect", "Missing argument 'SETTINGS.yaml'"),
        ("hydra-ray", "a command is missing"),
        (f"hydra-ray model promot {SETTINGS} candidate", "No such command 'promot'"),
        (f"hydra-ray train {SETTINGS} base.epoch=3", "base.epoch: no such setting"),
        (f"hydra-ray train {SETTINGS} base.epochs=many", "base.epochs: "),
        (f"hydra-ray train {SETTINGS} base.epochs", "write it as key=value"),
        ("hydra-ray train /etc/hydra-ray/setting.yaml", "puts no /etc/hydra-ray/setting.yaml there"),
        ("hydra-ray train /etc/hydra/settings.yaml", "in no volume of the pod"),
        (f"hydra-ray tune {SETTINGS} --search /etc/hydra-ray/search.yaml", "puts no /etc/hydra-ray/search.yaml there"),
        (f"hydra-ray train {SETTINGS} ray.address=null", "would start a cluster of its own"),
        (f"hydra-ray collect {SETTINGS} && hydra-ray train {SETTINGS}", "would run in the pod that submits"),
        (f"hydra-ray collect {SETTINGS} users=$USERS", "would take $ for its own"),
        (f"bash -c 'hydra-ray collect {SETTINGS} && hydra-ray tran {SETTINGS}'", "No such command 'tran'"),
        (f"exec hydra-ray tran {SETTINGS}", "No such command 'tran'"),
        (f"OMP_NUM_THREADS=1 python -m hydra_ray tran {SETTINGS}", "No such command 'tran'"),
        ("bash -c 'hydra-ray", "cannot be read as a command line"),
    ],
)
def test_a_broken_command_is_refused_for_its_own_reason(entrypoint, said, tmp_path):
    given = objects()
    given["RayJob/learn"]["spec"]["entrypoint"] = entrypoint
    (problem,) = checked(given, tmp_path).problems
    assert problem.path == "spec.entrypoint"
    assert said in problem.text


@pytest.mark.parametrize(
    "entrypoint", [f"hydra-ray fit {SETTINGS} users=dev", "hydra-ray fit --help", "python train.py --hydra-ray", "true"]
)
def test_other_commands_pass(entrypoint, tmp_path):
    given = objects()
    given["RayJob/learn"]["spec"]["entrypoint"] = entrypoint
    assert checked(given, tmp_path).problems == []


def test_commands_of_containers_are_read_as_well(tmp_path):
    given = objects()
    container = given["RayJob/learn"]["spec"]["submitterPodTemplate"]["spec"]["containers"][0]
    container |= {"command": ["hydra-ray"], "args": ["keys", "creat", "keys.yaml"]}
    (problem,) = checked(given, tmp_path).problems
    assert problem.path == "spec.submitterPodTemplate.spec.containers[0].command"
    assert "No such command 'creat'" in problem.text


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        (
            lambda tree: tree["env"].pop(0),
            "containers[0].env",
            "generator.api_key_env names the variable OPENAI_API_KEY, which this container does not have",
        ),
        (lambda tree: tree["env"].pop(1), "containers[0].env", "store.password_env names"),
        (
            lambda tree: tree["volumeMounts"][0].update(mountPath="/dat"),
            "containers[0].volumeMounts",
            "out is /data/hydra, which is in no volume",
        ),
    ],
)
def test_pods_have_what_settings_name(change, path, said, tmp_path):
    given = objects()
    change(given[HYDRA]["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0])
    (problem,) = checked(given, tmp_path).problems
    assert problem.path == f"spec.rayClusterConfig.workerGroupSpecs[0].template.spec.{path}"
    assert said in problem.text


def test_settings_of_a_config_map_are_named_with_their_place(tmp_path):
    given = objects()
    given["ConfigMap/settings"]["data"]["settings.yaml"] += "retriver: {}\n"
    problems = checked(given, tmp_path).problems
    assert {problem.object for problem in problems} == {"RayJob/learn", "RayCronJob/refit"}
    assert all("ConfigMap/settings data.settings.yaml" in problem.text for problem in problems)
    assert all("retriver: no such setting" in problem.text for problem in problems)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("hydra-ray a b", [["a", "b"]]),
        ("cd /data && /opt/bin/hydra-ray a; echo hydra-ray b", [["a"]]),
        ("sh -ec 'hydra-ray a\nhydra-ray b' x", [["a"], ["b"]]),
        ("bash -c \"bash -c 'hydra-ray a'\"", [["a"]]),
        ("bash", []),
        ("", []),
    ],
)
def test_our_commands_are_found(line, found):
    assert list(our_commands(words_of(line))) == found


@any_of(st.text(alphabet=st.sampled_from(list("abc '\"&|;\\\n$-#=/")) | st.characters(), max_size=60))
def test_any_line_of_shell_is_read_or_refused(line):
    with contextlib.suppress(ShellError):
        assert list(our_commands(words_of(f"hydra-ray {line}")))


@any_of(
    st.lists(
        st.sampled_from(
            ["collect", "fit", "model", "promote", "k8s", "--undelete", "-x", "--help", "", "a=b", "--", "ü"]
        )
    )
)
def test_any_command_line_is_read_or_refused(arguments):
    program: Any = typer.main.get_command(app)
    with contextlib.suppress(CommandError):
        assert (read_command(program, arguments) is None) is ("--help" in arguments)


def test_serve_listens_on_the_port_that_its_pods_say(tmp_path):
    given = objects()
    given["RayService/hydra"]["spec"]["serveConfigV2"] = SERVE.replace("port: 8000", "port: 9000")
    problems = checked(given, tmp_path).problems
    assert len(problems) == 2
    assert all(
        "Serve listens on 9000" in problem.text and problem.path.endswith("ports[0].containerPort")
        for problem in problems
    )


def test_a_command_that_writes_out_can_write_there(tmp_path):
    given = objects()
    put("spec.jobTemplate.rayClusterSpec.headGroupSpec.template.spec.containers.0.volumeMounts.0.readOnly", True)(
        given["RayCronJob/refit"]
    )
    (problem,) = checked(given, tmp_path).problems
    assert problem.path == "spec.jobTemplate.entrypoint"
    assert "`fit` writes to out (/data/hydra), which the pod at" in problem.text
