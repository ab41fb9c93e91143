"""The documents are run, not believed."""

import re
from pathlib import Path

import pytest

from agent_core.config.layers import config_table
from console.cli.main import build_parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_configuration_table_is_that_of_the_models() -> None:
    found = re.search(r"<!-- configuration:.*?-->\n(.*?)<!-- /configuration -->", README, re.DOTALL)
    assert found is not None
    assert found[1].strip() == config_table().strip(), "python -m agent_core.config.layers prints the table for README.md"


@pytest.mark.parametrize("document", sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")]), ids=lambda path: path.name)
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


def test_every_command_of_the_readme_is_one_of_the_program() -> None:
    for line in re.findall(r"edge-console ((?:[a-z]+ ?)+)", README):
        words = line.split()
        text = build_parser().format_help()
        if words[0] in {"send", "outbox", "backend", "screenshot", "ledger", "audit", "doctor", "secret", "backoff", "replay"}:
            assert words[0] in text


def test_every_make_target_of_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for document in (ROOT / "README.md", *ROOT.glob("docs/*.md")):
        for target in re.findall(r"`make ([a-z-]+)", document.read_text(encoding="utf-8")):
            assert target in targets, f"{document.name}: make {target}"
