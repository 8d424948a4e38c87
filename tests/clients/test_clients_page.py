"""Every example of docs/clients.md, copied and run."""

from pathlib import Path

import pytest
from code_blocks import code_blocks

from clients.environments import curl, python, run
from clients.llm import SAYS

PAGE, SHOWN = "docs/clients.md", "http://127.0.0.1:8000/v1"


@pytest.fixture
def copied(url: str, tmp_path: Path):
    """Writes the example of a section into a file, asking the endpoint that is served here."""

    def write(section: str, language: str, name: str, place: int = 0) -> str:
        code = code_blocks(PAGE, f"## {section}", language)[place]
        assert SHOWN in code
        (tmp_path / name).write_text(code.replace(SHOWN, url))
        return str(tmp_path / name)

    return write


def test_openai_for_python(copied, url):
    answer, used, streamed, tokens = run(
        [python(), copied("openai for Python", "python", "openai_example.py")], url
    ).splitlines()
    assert {answer, streamed} <= set(SAYS)
    assert used.startswith("shared ")
    assert tokens.endswith(" tokens")


@pytest.mark.parametrize(("place", "holds"), [(0, '"object":"chat.completion"'), (1, "data: [DONE]")])
def test_curl(copied, url, place, holds):
    curl()
    assert holds in run(["sh", copied("curl", "sh", "example.sh", place)], url)
