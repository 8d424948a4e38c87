"""An S3 of this machine, and the environment by which it is found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer


@contextmanager
def serving(host: str = "127.0.0.1") -> Iterator[str]:
    """Run the server at an address; give its host and port."""
    server = ThreadedMotoServer(ip_address=host, port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"{host}:{port}"
    finally:
        server.stop()


def client_with(server: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set credentials in the environment, and return a client of a bucket that is made."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client: Any = boto3.client("s3", endpoint_url=f"http://{server}")
    client.create_bucket(Bucket=bucket)
    return client
