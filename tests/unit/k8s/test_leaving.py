"""A pod that goes has its work moved, and time to end what it has begun."""

from __future__ import annotations

import re
import subprocess

import pytest
from manifests import container, rendered

from hydra_ray.runtime.draining import drain_s


def serving(manifests):
    return [(where, pod) for where, pod in manifests.pods() if where.startswith("RayService")]


def test_a_pod_that_goes_has_time_for_what_it_has_begun(manifests):
    longest = drain_s(manifests.served().serve)
    for where, pod in serving(manifests):
        assert pod["terminationGracePeriodSeconds"] > longest, where
        if not where.endswith("head"):
            shell, flag, script = container(pod)["lifecycle"]["preStop"]["exec"]["command"]
            assert (shell, flag) == ("bash", "-c")
            assert script.startswith("ray drain-node ")
            told = [int(word) for word in re.findall(r"\d{2,}", script)]
            assert all(longest <= seconds < pod["terminationGracePeriodSeconds"] for seconds in told)
            assert len(told) == 2


@pytest.mark.parametrize(("lives", "slept"), [(0, 0), (3, 3)])
def test_a_pod_goes_as_soon_as_its_node_is_empty(tmp_path, lives, slept):
    commands = {
        "ray": "exit 0",
        # The raylet is there at so many looks.
        "grep": f'echo >> {tmp_path}/looks; test "$(wc -l < {tmp_path}/looks)" -le {lives}',
        "sleep": f"echo >> {tmp_path}/sleeps",
    }
    for name, line in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    command = container(rendered("openai").group("cpu")["template"]["spec"])["lifecycle"]["preStop"]["exec"]["command"]
    subprocess.run(command, check=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    sleeps = tmp_path / "sleeps"
    assert (len(sleeps.read_text().splitlines()) if sleeps.exists() else 0) == slept


def test_ray_takes_the_words_with_which_a_pod_leaves():
    import shlex

    from ray.scripts.scripts import drain_node

    script = container(rendered("openai").group("cpu")["template"]["spec"])["lifecycle"]["preStop"]["exec"]["command"][
        2
    ]
    words = shlex.split(script.partition("||")[0])
    context = drain_node.make_context("drain-node", [word for word in words[2:] if word.strip()])
    assert context.params["reason"] == "DRAIN_NODE_REASON_PREEMPTION"


def test_the_head_has_no_work_to_hand_over(manifests):
    for where, pod in serving(manifests):
        assert ("lifecycle" in container(pod)) is not where.endswith("head"), where
