"""docs/upgrading.md and docs/releasing.md say what the code does."""

import re

import pytest
from code_blocks import ROOT
from locks import made_locks

import hydra_ray
from hydra_ray.registry.manifest import SCHEMA
from hydra_ray.settings.files.renamed import MOVED, RENAMED
from hydra_ray.store.schema import revisions

UPGRADING = (ROOT / "docs" / "upgrading.md").read_text(encoding="utf-8")
RELEASING = (ROOT / "docs" / "releasing.md").read_text(encoding="utf-8")


def first_column(page: str) -> list[str]:
    """First cells of all rows of all tables of a page."""
    return re.findall(r"^\| ([^|]+?) \|", page, re.MULTILINE)


def test_every_revision_of_the_tables_is_told():
    assert [cell for cell in first_column(UPGRADING) if re.fullmatch(r"\d{4}", cell)] == revisions()


def test_every_setting_with_an_old_name_is_told():
    told = re.findall(r"^\| `([\w.]+)` \| `([\w.]+)` \|", UPGRADING, re.MULTILINE)
    assert dict(told) == RENAMED | MOVED


def test_the_schema_of_published_versions_is_the_one_that_is_told():
    assert f"`{SCHEMA}`" in UPGRADING


def test_each_version_has_a_section():
    versions = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert re.findall(r"^## (\d+\.\d+\.\d+)$", UPGRADING, re.MULTILINE) == versions


def test_all_locks_are_told():
    told = {cell.strip("`") for cell in first_column(RELEASING)}
    assert {str(lock.path.relative_to(ROOT)) for lock in made_locks()} <= told


@pytest.mark.parametrize("page", [UPGRADING, RELEASING], ids=["upgrading", "releasing"])
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([\w./]*)(?:#([\w-]+))?\)", page):
        text = (ROOT / "docs" / target).read_text(encoding="utf-8") if target else page
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors, f"{target}#{anchor}"


def test_images_are_built_with_the_tags_that_the_page_names():
    assert f"hydra-ray:{hydra_ray.__version__} ." in RELEASING
    assert f"hydra-ray:{hydra_ray.__version__}-gpu ." in RELEASING
