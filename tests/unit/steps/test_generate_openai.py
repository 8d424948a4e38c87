"""The client against a real server in this process, which answers well, badly and not at all."""

import asyncio
import json
import logging
import pickle
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hydra_ray.records import ChatRequest, HydraError, Message, Usage
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.generate.openai import Endpoint, OpenAIGenerator

KEY = "sk-secret-7f3a"
REQUEST = ChatRequest((Message("user", "Which tag?"), Message("assistant", "drama")), n=2, max_tokens=8, seed=3)


def completion(*texts, **more):
    """The body of a good reply."""
    choices = [{"index": i, "message": {"role": "assistant", "content": text}} for i, text in enumerate(texts)]
    usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
    return {"id": "x", "object": "chat.completion", "choices": choices, "usage": usage, **more}


class Server(ThreadingHTTPServer):
    """Answers with its replies in turn, the last one for ever, and remembers what it was asked.

    A reply is a body, or (status, body), or a function of the request's body that gives either; a body that
    is text goes out as it is.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.replies = [completion("fine")]
        self.content_type = "application/json"
        self.asked, self.headers = [], []

    def handle_error(self, request, client_address):
        """A client that gave up is no news."""


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        reply = self.server.replies.pop(0) if len(self.server.replies) > 1 else self.server.replies[0]
        self.server.asked.append(body)
        self.server.headers.append(self.headers)
        reply = reply(body) if callable(reply) else reply
        status, reply = reply if isinstance(reply, tuple) else (200, reply)
        payload = (reply if isinstance(reply, str) else json.dumps(reply)).encode()
        self.send_response(status)
        self.send_header("content-type", self.server.content_type)
        self.send_header("content-length", str(len(payload)))
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture
def endpoint():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
async def client(endpoint, monkeypatch):
    """Makes generators for the endpoint."""
    monkeypatch.setenv("LLM_KEY", KEY)
    monkeypatch.setattr("hydra_ray.steps.generate.openai.FIRST_WAIT_S", 0.02)
    made = []

    def make(key_file=None, **options):
        endpoints = [Endpoint(endpoint.url, "LLM_KEY", key_file)]
        made.append(OpenAIGenerator("tiny", endpoints, **{"timeout_s": 30, "retries": 0, **options}))
        return made[-1]

    yield make
    for generator in made:
        await generator.close()


async def refused(generator):
    with pytest.raises(GenerateError) as caught:
        await generator(REQUEST)
    return str(caught.value)


async def test_the_endpoint_is_asked_in_its_own_terms(client, endpoint):
    endpoint.replies = [completion(" comedy\n", "drama")]
    answer = await client()(REQUEST)
    assert answer.texts == ("comedy", "drama")
    assert answer.usage == Usage(calls=1, prompt_tokens=11, completion_tokens=5)
    assert endpoint.asked == [
        {
            "model": "tiny",
            "messages": [{"role": "user", "content": "Which tag?"}, {"role": "assistant", "content": "drama"}],
            "n": 2,
            "temperature": 0.0,
            "max_tokens": 8,
        }
    ]
    assert endpoint.headers[0]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("temperature", "send_seed", "seed"), [(0.7, True, 3), (0.7, False, None), (0.0, True, None), (0.0, False, None)]
)
async def test_a_seed_is_sent_where_it_matters_and_may_be(client, endpoint, temperature, send_seed, seed):
    await client(send_seed=send_seed)(ChatRequest(REQUEST.messages, temperature=temperature, seed=3))
    assert endpoint.asked[0].get("seed") == seed
    assert ("seed" in endpoint.asked[0]) == (seed is not None)


async def test_a_server_without_keys_is_asked_all_the_same(client, monkeypatch):
    monkeypatch.delenv("LLM_KEY")
    assert (await client()(REQUEST)).texts == ("fine",)


@pytest.mark.parametrize(
    ("offered", "texts"), [(["one"], ("one",)), ([None, "one", ""], ("one",)), (["one", None], ("one",))]
)
async def test_choices_that_are_missing_or_empty_are_left_out(client, endpoint, offered, texts):
    endpoint.replies = [completion(*offered)]
    assert (await client()(REQUEST)).texts == texts


@pytest.mark.parametrize("body", [completion(), completion(None, ""), {}, {"choices": None}])
async def test_a_reply_without_any_text_is_an_error(client, endpoint, body):
    endpoint.replies = [body]
    assert await refused(client()) == "tiny: the reply has no choices with text"


async def test_a_reply_without_usage_counts_the_call(client, endpoint):
    endpoint.replies = [completion("fine", usage=None)]
    assert (await client()(REQUEST)).usage == Usage(calls=1)


@pytest.mark.parametrize(
    "usage", [{"prompt_tokens": None}, {"prompt_tokens": "7", "completion_tokens": -3}, {"prompt_tokens": 7.5}, [7], 7]
)
async def test_usage_without_numbers_can_be_added_up(client, endpoint, usage):
    endpoint.replies = [completion("fine", usage=usage)]
    assert (await client()(REQUEST)).usage + Usage() == Usage(calls=1)


async def test_half_a_surrogate_pair_in_a_reply_can_be_stored(client, endpoint):
    endpoint.replies = ['{"choices": [{"message": {"content": "fi\\ud83dne"}}]}']
    assert (await client()(REQUEST)).texts == ("fi?ne",)


async def test_half_a_surrogate_pair_in_a_prompt_is_the_requests_own_fault(client, endpoint):
    with pytest.raises(GenerateError, match="not valid Unicode") as caught:
        await client(retries=4)(ChatRequest((Message("user", "fi\ud83dne"),)))
    assert (caught.value.kind, caught.value.transient, endpoint.asked) == ("refused", False, [])


async def test_a_passing_failure_is_tried_again(client, endpoint):
    endpoint.replies = [(500, {"error": {"message": "out of luck"}}), completion("fine")]
    answer = await client(retries=1)(REQUEST)
    assert (answer.texts, answer.usage.calls, len(endpoint.asked)) == (("fine",), 1, 2)


async def test_a_lasting_failure_is_told_in_the_servers_words(client, endpoint):
    endpoint.replies = [(500, {"error": {"message": "out of luck"}})]
    assert await refused(client(retries=2)) == "tiny: HTTP 500: out of luck"
    assert len(endpoint.asked) == 3


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
    generator = OpenAIGenerator("tiny", [Endpoint(endpoint.url, "SHORT"), Endpoint(endpoint.url, "LONG")], retries=0)
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


async def test_garbage_is_an_error(client, endpoint):
    endpoint.replies = ['{"choices": [oops']
    assert (await refused(client())).startswith("tiny: ")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/html", "<html>Welcome!</html>"),
        ("application/json", "[]"),
        ("application/json", "null"),
        ("application/json", {"choices": [{"message": None}]}),
        ("application/json", {"choices": [{}]}),
        ("application/json", {"choices": 5}),
        ("application/json", {"choices": "fine"}),
        ("application/json", {"choices": [5, None, "fine"]}),
        ("application/json", {"choices": [{"message": "fine"}]}),
        ("application/json", {"choices": [{"message": {"content": [{"type": "text", "text": "fine"}]}}]}),
    ],
)
async def test_a_reply_of_another_shape_is_an_error(client, endpoint, content_type, body):
    endpoint.content_type, endpoint.replies = content_type, [body if isinstance(body, str) else json.dumps(body)]
    await refused(client())


async def test_a_server_that_hangs_is_given_up_and_the_next_request_is_answered(client, endpoint):
    released = threading.Event()
    endpoint.replies = [lambda _: released.wait(30) and completion("late"), completion("fine")]
    generator = client(timeout_s=1)
    assert "timed out" in await refused(generator)
    released.set()
    assert (await generator(REQUEST)).texts == ("fine",)


async def test_no_server_is_an_error(client, endpoint):
    endpoint.shutdown()
    endpoint.server_close()
    assert (await refused(client())).startswith("tiny: Connection error. ")


async def test_no_more_requests_are_in_flight_than_allowed(client, endpoint):
    released = threading.Event()
    endpoint.replies = [lambda _: released.wait(30) and completion("fine")]
    generator = client(concurrency=3)
    calls = [asyncio.create_task(generator(REQUEST)) for _ in range(12)]
    while len(endpoint.asked) < 3:
        await asyncio.sleep(0.01)
    # Time for a fourth, which must not come while these three wait.
    await asyncio.sleep(0.3)
    assert len(endpoint.asked) == 3
    released.set()
    assert [answer.texts for answer in await asyncio.gather(*calls)] == [("fine",)] * 12
