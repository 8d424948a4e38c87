"""Every example of docs/clients.md, copied and run; how LiteLLM's proxy is set up is run where it is asked."""

from pathlib import Path

import pytest
from code_blocks import ROOT, code_blocks

from clients import PAGE, SHOWN, USER
from clients.environments import curl, node, python, run
from clients.llm import SAYS


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
    example = copied("openai for Python", "python", "openai_example.py")
    answer, used, streamed, tokens = run([python(), example], url).splitlines()
    assert {answer, streamed} <= set(SAYS)
    assert used.startswith("shared ")
    assert tokens.endswith(" tokens")


def test_openai_for_node(copied, url, tmp_path):
    example = copied("openai for Node", "js", "example.mjs")
    answer, streamed = run([node(tmp_path), example], url, tmp_path).splitlines()
    assert {answer, streamed} <= set(SAYS)


def test_litellm(copied, url):
    answer, user, streamed = run([python(), copied("litellm", "python", "litellm_example.py")], url).splitlines()
    assert {answer, streamed} <= set(SAYS)
    assert user == USER


def test_langchain(copied, url):
    example = copied("langchain-openai", "python", "langchain_example.py")
    answer, about, streamed = run([python(), example], url).splitlines()
    assert {answer, streamed} <= set(SAYS)
    assert about.startswith("hydra@v1 ")


def test_the_ai_sdk(copied, url, tmp_path):
    example = copied("Vercel's AI SDK", "js", "example.mjs")
    answer, user, streamed, tokens = run([node(tmp_path), example], url, tmp_path).splitlines()
    assert {answer, streamed} <= set(SAYS)
    assert user == USER
    assert tokens.endswith(" tokens")


@pytest.mark.parametrize(("place", "holds"), [(0, '"object":"chat.completion"'), (1, "data: [DONE]")])
def test_curl(copied, url, place, holds):
    curl()
    assert holds in run(["sh", copied("curl", "sh", "example.sh", place)], url)


def test_each_section_is_run_by_a_test():
    sections = [line[3:] for line in (ROOT / PAGE).read_text().splitlines() if line.startswith("## ")]
    assert sections == [
        "openai for Python",
        "openai for Node",
        "litellm",
        "langchain-openai",
        "Vercel's AI SDK",
        "curl",
    ]
