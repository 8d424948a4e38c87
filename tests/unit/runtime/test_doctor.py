"""The doctor's verdict and what it finds, against endpoints with quirks; without a cluster."""

import json

import pytest
import quirky_endpoint as quirky
import yaml
from typer.testing import CliRunner

from hydra_ray.cli import app
from hydra_ray.records import HydraError
from hydra_ray.runtime.doctor import check_usable, examine
from hydra_ray.runtime.generators import calls_for_candidates, known_dialect
from hydra_ray.settings import parse_settings
from hydra_ray.steps.generate.endpoint.dialect import Dialect


@pytest.fixture(scope="module")
def server():
    with quirky.serving() as server:
        yield server


def settings_of(url, tmp_path, **more):
    return {
        "out": str(tmp_path),
        "generator": {"backend": "openai", "base_url": url, "model": "m", "retries": 0, **more},
    }


def diagnosed(url, tmp_path, **more):
    settings = parse_settings(settings_of(url, tmp_path, **more))
    (found,) = examine(settings)
    return found, settings


def test_a_plain_endpoint_needs_nothing(server, tmp_path):
    found, settings = diagnosed(server.url(), tmp_path)
    assert (found.fault, found.settings) == ("", {})
    assert found.found["samples (n)"] == "any number in one request"
    assert found.found["token usage"] == "told"
    assert found.found["greedy answers"] == found.found["seeded samples"] == "repeat"
    assert found.found["answers as JSON"] == "held to a schema; not kept to"
    assert len(server.asked["plain"]) == 6, "a handful"
    assert known_dialect(settings) == Dialect()


def test_what_is_found_is_remembered_and_told_as_settings(server, tmp_path, tag_task):
    url = server.url("n1", "noseed", "temp1", "mct", "think", "nosystem", "alternate", "nousage")
    found, settings = diagnosed(url, tmp_path)
    learnt = Dialect(1, "max_completion_tokens", "omitted", seed=False, system="user", alternate=True)
    assert known_dialect(settings) == learnt
    # One greedy answer, and seven samples one by one.
    assert calls_for_candidates(settings, tag_task) == 8
    assert found.found["greedy answers"] == found.found["seeded samples"] == "not possible"
    assert found.found["reasoning"].startswith("comes with answers")
    assert found.found["token usage"].startswith("not told")
    # The settings that it prints say the same without the file.
    told = settings_of(url, tmp_path / "elsewhere", **found.settings)
    assert known_dialect(parse_settings(told)) == Dialect(**{**learnt.differs(), "seed": True})
    assert told["generator"]["send_seed"] is False
    server.refused.clear()
    diagnosed(url, tmp_path / "elsewhere", **found.settings)
    assert not server.refused


def test_it_finds_out_anew_what_was_remembered(server, tmp_path):
    _, settings = diagnosed(server.url("n1", "now"), tmp_path)
    path = tmp_path / "answers" / "dialects.json"
    path.write_text(path.read_text().replace('"samples": 1', '"seed": false'))
    assert known_dialect(settings) == Dialect(seed=False)
    diagnosed(server.url("n1", "now"), tmp_path)
    assert known_dialect(settings) == Dialect(samples=1)
    assert list(json.loads(path.read_text())) == [f"{server.url('n1', 'now')} m"]


@pytest.mark.parametrize(
    ("quirk", "told"),
    [
        ("nomodel", "The model `m` does not exist"),
        ("quota", "exceeded your current quota"),
        ("html", "a page of HTML: Sign in"),
        ("odd", "I would rather not"),
        ("thinkcut", "reasoning did not end within max_tokens"),
    ],
)
def test_the_command_fails_with_the_reason(server, tmp_path, quirk, told):
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(settings_of(server.url(quirk), tmp_path)))
    done = CliRunner().invoke(app, ["doctor", str(path)])
    assert isinstance(done.exception, HydraError)
    assert told in str(done.exception)
    assert "cannot be used" in done.output
    assert not (tmp_path / "answers").exists()


def test_the_command_tells_what_it_finds(server, tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(settings_of(server.url("zh", "n1", "think"), tmp_path)))
    done = CliRunner().invoke(app, ["doctor", str(path)])
    assert done.exit_code == 0, done.output
    assert "can be used" in done.output
    assert "1 a request" in done.output
    assert "samples: 1" in done.output


def test_a_wrong_name_of_the_model_is_told_with_those_there_are(endpoint_of, tmp_path):
    found, _ = diagnosed(endpoint_of(404, "no model tiny"), tmp_path, model="tiny")
    assert "no model tiny" in found.fault
    assert any("Models that it lists: m" in note for note in found.notes)


@pytest.fixture
def endpoint_of(server):
    """An endpoint that refuses everything in some way."""

    def make(status, message):
        def refuse(body):
            raise quirky.RefusedError(status, message)

        quirky.REFUSING["made"] = refuse
        return server.url("made")

    yield make
    quirky.REFUSING.pop("made", None)


def test_of_vllm_it_says_what_ends_it(server, endpoint_of, tmp_path):
    found, _ = diagnosed(server.url("isvllm"), tmp_path)
    assert not found.fault
    assert any("--no-enable-chunked-prefill" in note for note in found.notes)


def test_an_endpoint_that_dies_of_a_seed_is_told_from_one_that_is_down(server, tmp_path):
    def die(body):
        if "seed" in body:
            raise quirky.RefusedError(500, "EngineCore encountered an issue")

    quirky.REFUSING["dies"] = die
    found, _ = diagnosed(server.url("dies"), tmp_path)
    del quirky.REFUSING["dies"]
    assert "failed at a seeded request" in found.fault
    assert "--no-enable-chunked-prefill" in found.fault


def test_reasoning_that_takes_more_room_is_given_it(server, tmp_path):
    def short(body):
        if body["max_tokens"] < 1000:
            quirky.THINKING_CUT.add("roomy")
        else:
            quirky.THINKING_CUT.discard("roomy")

    quirky.REFUSING["roomy"] = short
    found, _ = diagnosed(server.url("roomy"), tmp_path)
    del quirky.REFUSING["roomy"]
    assert (found.fault, found.settings["reasoning_tokens"]) == ("", 2048)


def test_other_backends_get_a_short_answer(tmp_path):
    (embedded,) = examine(parse_settings({}))
    assert (embedded.fault, embedded.found) == ("", {})
    (hosted,) = examine(parse_settings({"generator": {"backend": "vllm", "model": "x"}}))
    assert "chunked prefill" in hosted.notes[0]
    wrong = {"device": "cpu", "engine": {"enable_chunked_prefill": True}}
    found = examine(parse_settings({"generator": {"backend": "vllm", "model": "x", "vllm": wrong}}))
    with pytest.raises(HydraError, match="enable_chunked_prefill: vLLM on CPUs ends on seeded requests"):
        check_usable(found)
    with pytest.raises(HydraError, match="holds no checkpoint"):
        examine(parse_settings({"generator": {"model": str(tmp_path)}}))


def test_how_answers_are_held_to_json_is_told_and_remembered(server, tmp_path):
    found, settings = diagnosed(server.url("noschema"), tmp_path)
    assert found.found["answers as JSON"].startswith("held to any JSON object")
    assert found.settings == {"dialect": {"json_by": "object"}}
    assert known_dialect(settings).json_by == "object"


def test_an_endpoint_that_fails_at_json_can_be_used_and_how_is_said(server, tmp_path):
    found, _ = diagnosed(server.url("jsondies"), tmp_path)
    assert found.fault == ""
    assert any("json_by: words" in note for note in found.notes)
