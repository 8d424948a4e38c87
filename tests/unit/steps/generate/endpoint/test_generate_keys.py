"""Where an endpoint's key comes from, and that it is seen nowhere."""

import asyncio
import logging
import pickle
import threading
import traceback

import pytest
from asking import KEY, REQUEST, refused
from defaults import endpoint_at, openai_generator
from openai_endpoint import completion

from hydra_ray.records import HydraError
from hydra_ray.steps.generate import GenerateError


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "who are you?", "request": {"authorization": f"Bearer {KEY}"}}},
        {"error": {"code": 7, "key": KEY}},
        {"detail": KEY},
        f"<html>{KEY}</html>",
        pytest.param({"error": {"message": f"Incorrect API key provided: {KEY}."}}),
    ],
)
async def test_the_key_is_never_in_an_error(client, endpoint, body):
    endpoint.replies = [(401, body)]
    error = await refused(client())
    assert error.startswith("tiny: HTTP 401: ")
    assert KEY not in error
    assert len(endpoint.asked) == 1


async def test_a_key_is_masked_even_where_a_message_is_cut(client, endpoint):
    endpoint.replies = [(400, {"error": {"message": "x" * 280 + KEY + "y" * 500}})]
    error = await refused(client())
    assert "sk-" not in error
    assert len(error) < 320


async def test_a_key_that_is_part_of_another_is_masked_whole(monkeypatch, endpoint):
    monkeypatch.setenv("SHORT", "sk-1")
    monkeypatch.setenv("LONG", "sk-1-and-more")
    endpoint.replies = [(401, {"error": {"message": "not sk-1-and-more, not sk-1"}})]
    generator = openai_generator(
        "tiny", [endpoint_at(endpoint.url, "SHORT"), endpoint_at(endpoint.url, "LONG")], retries=0
    )
    error = await refused(generator)
    await generator.close()
    assert error.count("HTTP 401: not ***, not ***") == 2
    assert "more" not in error


@pytest.mark.parametrize("status", [200, 400, 401, 500])
async def test_the_key_is_in_no_traceback_and_no_log(client, endpoint, caplog, status):
    caplog.set_level(logging.DEBUG)
    endpoint.replies = [(status, {"error": {"message": f"{KEY} is wrong"}, "choices": KEY})]
    generator = client(retries=1)
    with pytest.raises(GenerateError) as caught:
        await generator(REQUEST)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert KEY not in "".join(shown.format())
    assert KEY not in repr(generator) + repr(caught.value) + str(pickle.loads(pickle.dumps(caught.value)))
    assert caplog.records
    assert KEY not in caplog.text
    assert all(KEY not in str(vars(record)) for record in caplog.records)
    # Not even hidden behind the error, for tools that look there.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


async def test_a_key_file_goes_before_the_variable(client, endpoint, tmp_path):
    (tmp_path / "key").write_text("sk-from-file\n")
    await client(key_file=tmp_path / "key")(REQUEST)
    assert endpoint.headers[0]["authorization"] == "Bearer sk-from-file"


async def test_a_rotated_key_is_read_when_the_old_one_is_refused(client, endpoint, tmp_path):
    file = tmp_path / "key"
    file.write_text("sk-old")
    generator = client(key_file=file)
    await generator(REQUEST)
    file.write_text("sk-new")
    wrong = (401, {"error": {"message": "sk-old is over"}})
    endpoint.replies = [wrong, completion("fine")]
    answer = await generator(REQUEST)
    assert (answer.texts, answer.usage.calls) == (("fine",), 1)
    assert [h["authorization"] for h in endpoint.headers] == ["Bearer sk-old", "Bearer sk-old", "Bearer sk-new"]
    # The old key stays a secret.
    endpoint.replies = [wrong]
    assert await refused(generator) == "tiny: HTTP 401: *** is over"
    assert len(endpoint.asked) == 4


async def test_requests_under_way_share_a_rotated_key(client, endpoint, tmp_path):
    file = tmp_path / "key"
    file.write_text("sk-old")
    generator = client(key_file=file)
    file.write_text("sk-new")
    arrived = threading.Barrier(3)

    def refuse(_):
        arrived.wait(30)
        return 401, {"error": {"message": "over"}}

    endpoint.replies = [refuse, refuse, refuse, completion("fine")]
    answers = await asyncio.gather(*(generator(REQUEST) for _ in range(3)))
    assert [answer.texts for answer in answers] == [("fine",)] * 3


@pytest.mark.parametrize("content", [None, b"", b" \n", b"sk-one\nsk-two", "sk-zażółć".encode(), b"\xff\xfesk-one"])
async def test_a_key_file_that_is_no_use_is_told_by_its_path_alone(client, tmp_path, content):
    file = tmp_path / "the-key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(HydraError) as caught:
        client(key_file=file)
    shown = "".join(traceback.format_exception(caught.value))
    assert f"generator.api_key_file: {file} " in shown
    assert "sk-" not in shown


async def test_a_key_file_that_is_gone_is_told_with_the_refusal(client, endpoint, tmp_path):
    file = tmp_path / "key"
    file.write_text("sk-old")
    generator = client(key_file=file)
    file.unlink()
    endpoint.replies = [(401, {"error": {"message": "over"}})]
    assert await refused(generator) == (
        f"tiny: HTTP 401: over; generator.api_key_file: {file} cannot be read: No such file or directory"
    )


async def test_a_variable_that_holds_no_key_is_told_by_its_name(client, monkeypatch):
    monkeypatch.setenv("LLM_KEY", "sk-zażółć")
    with pytest.raises(HydraError, match="LLM_KEY holds no key") as caught:
        client()
    assert "sk-" not in str(caught.value)
