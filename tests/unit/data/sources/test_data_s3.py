"""Data in S3, as a server on this machine keeps it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator

import pytest
import s3
from defaults import read_lamp, read_records, split_of

from hydra_ray.data.errors import DataError
from hydra_ray.runtime.loading import load_data
from hydra_ray.settings import parse_settings
from hydra_ray.tasks import TASKS, TEXT_TASK

EVERYBODY = split_of("train", queries_per_user=1, dev_share=1e-9, seed=0)
QUESTIONS = [
    {
        "id": "1",
        "input": "Generate a subject for the following email: x",
        "profile": [{"id": "10", "text": "Hi", "title": "Ho"}],
    }
]


def record(user: str) -> bytes:
    return json.dumps({"user_id": user, "input": "hi", "output": "ho", "ts": "2026"}).encode()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3.serving() as server:
        yield server


@pytest.fixture(autouse=True)
def bucket(server, monkeypatch) -> str:
    client = s3.client_with(server, "company", monkeypatch)
    for key, body in {
        "logs/r 1.jsonl": record("ann"),
        "logs/b/r2.jsonl.gz": gzip.compress(record("bob")),
        "logs/_SUCCESS": b"",
        "logs/": b"",
        "bad/r.jsonl.gz": gzip.compress(record("ann"))[:-9],
        "lamp/LaMP_6/dev_questions.json.gz": gzip.compress(json.dumps(QUESTIONS).encode()),
        "empty/": b"",
    }.items():
        client.put_object(Bucket="company", Key=key, Body=body)
    return "s3://company"


@pytest.fixture
def endpoint(server, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{server}")


def people(place: str) -> list[str]:
    return sorted(user.key.user for user in read_records(place, TEXT_TASK, EVERYBODY).users)


@pytest.mark.parametrize(
    ("place", "users"),
    [
        ("logs/r 1.jsonl", ["ann"]),
        ("logs/r%201.jsonl", ["ann"]),
        ("logs/b/r2.jsonl.gz", ["bob"]),
        ("logs", ["ann", "bob"]),
        ("logs/", ["ann", "bob"]),
        ("logs/*.jsonl", ["ann"]),
        ("logs/**/r*", ["ann", "bob"]),
        ("*/r 1.jsonl", ["ann"]),
    ],
)
def test_files_folders_and_globs_are_read(endpoint, bucket, place, users):
    assert people(f"{bucket}/{place}") == users


def test_the_uri_may_name_the_endpoint(server, bucket):
    told = f"endpoint_override={server}&scheme=http&region=us-east-1"
    assert people(f"{bucket}/logs?{told}") == ["ann", "bob"]
    assert people(f"{bucket}/logs/*/*.gz?{told}") == ["bob"]


def test_settings_keep_both_slashes_of_a_uri(endpoint, bucket):
    settings = parse_settings(
        {"data": {"format": "records", "path": f"{bucket}/logs", "dev_share": 1e-9, "queries_per_user": 1}}
    )
    assert settings.data.path == "s3://company/logs"
    assert len(load_data(settings)[1].users) == 2


def test_lamps_files_are_read(endpoint, bucket):
    _, data = read_lamp(f"{bucket}/lamp", TASKS["LaMP_6"], "dev")
    assert data.users[0].history[0].output == "Ho"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("logs/gone.jsonl", "s3://company/logs/gone.jsonl: no such file. Point data.path at"),
        ("gone/*.csv", "s3://company/gone/*.csv: no such file."),
        ("empty", "s3://company/empty: the folder has no file in it."),
        ("bad", "bad/r.jsonl.gz: not a whole gzip file (Truncated compressed stream). Download it again."),
        ("logs/../../other/x.jsonl", "s3://company/logs/../../other/x.jsonl: "),
    ],
)
def test_what_cannot_be_read_is_one_line(endpoint, bucket, place, message):
    with pytest.raises(DataError) as caught:
        people(f"{bucket}/{place}")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_of_lamp_is_named(endpoint, bucket):
    with pytest.raises(DataError, match=r"^s3://company/nothing/dev_questions\.json: no such file\."):
        read_lamp(f"{bucket}/nothing", TASKS["LaMP_6"], "dev")
