import pytest
import quirky_endpoint as quirky


@pytest.fixture(scope="module")
def server():
    with quirky.serving() as server:
        yield server
