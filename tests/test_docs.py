"""The documents are run, not believed."""

import asyncio
import re
import shlex
import socket
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from agent_core import __version__
from agent_core.engine.outcomes import Rule, rule_for
from agent_core.events import Failure, Trouble
from agent_core.monitoring.metrics import metrics
from agent_core.reference.hub import Hub
from agent_core.reference.metrics import metrics as backend_metrics
from agent_core.snapshot import Snapshot
from console.cli import outcome as cli_outcome
from console.cli.main import build_parser
from tests.harness.documents import DOCS, GENERATED, ROOT, due, numbered_tests, parsers, promises, written

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), ROOT / "tests" / "README.md", *ROOT.glob("examples/*.md")])
SOURCES = sorted(
    [*DOCUMENTS, *ROOT.glob("*.yaml"), *ROOT.glob("*.toml")]
    + [path for folder in ("agent_core", "console", "tests", "examples") for path in (ROOT / folder).rglob("*.py")]
)
SHELL = re.compile(r"^ *```sh( run)?\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
SECTION = r"\d+(?:\.\d+)*"
CITED_SECTIONS = re.compile(rf"(RFC \d+|[A-Z]{{3,}}) §({SECTION})((?:, §{SECTION})*)")
NUMBER = re.compile(r"(?<![\w%#])[PF]\d{1,2}(?!\w)")
CITED_FILE = re.compile(r"(?<![\w./-])(?:docs|tests|examples|agent_core|console|harness)/[\w./-]+\.(?:md|py|png|yaml)\b")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# --- what is cited is there ----------------------------------------------------------------------------------------------


def sections(document: str) -> set[str]:
    return set(re.findall(r"^## (\d+)\. ", written(f"{document}.md"), re.MULTILINE))


def cited_sections(source: Path) -> Iterator[tuple[str, str]]:
    """Document and number; of a § that names no document, that of the text itself."""
    text = source.read_text(encoding="utf-8")
    for document, first, more in CITED_SECTIONS.findall(text):
        if not document.startswith("RFC"):
            yield from ((document, number) for number in (first, *re.findall(SECTION, more)))
    if source.suffix == ".md":
        yield from ((source.stem, number) for number in re.findall(r"§(\d*)", CITED_SECTIONS.sub("", text)))


def test_every_section_that_is_cited_exists() -> None:
    known = {document: sections(document) for document in ("ARCHITECTURE", "MACOS", "PROMISES", "PROTOCOL")}
    cited = [(name_of(source), *section) for source in SOURCES for section in cited_sections(source)]
    assert [one for one in cited if one[2] not in known.get(one[1], set())] == []


def test_every_promise_and_fault_that_is_cited_exists() -> None:
    known = set(promises())
    cited = [(name_of(source), one) for source in SOURCES for one in re.findall(NUMBER, source.read_text(encoding="utf-8"))]
    assert [one for one in cited if one[1] not in known] == []


def test_every_file_that_is_cited_exists() -> None:
    cited = [(name_of(source), one) for source in SOURCES for one in CITED_FILE.findall(source.read_text(encoding="utf-8"))]
    assert [one for one in cited if not (ROOT / one[1]).exists() and not (ROOT / "tests" / one[1]).exists()] == []


def test_every_room_has_its_row() -> None:
    rooms = {name_of(path.parent) + "/" for package in ("agent_core", "console") for path in (ROOT / package).rglob("__init__.py")}
    assert rooms <= set(re.findall(r"^\| `([\w/]+)` \|", written("ARCHITECTURE.md"), re.MULTILINE))


def test_every_harness_and_every_target_on_demand_is_told() -> None:
    page = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    assert {f"harness/{path.name}" for path in (ROOT / "tests" / "harness").glob("[a-z]*.py")} <= set(re.findall(r"harness/\w+\.py", page))
    ours = set(re.findall(r"^([a-z-]+): .*\n\t.*(?:-m tests\.|pytest tests/)", MAKEFILE, re.MULTILINE)) - {"docs"}
    assert ours == set(re.findall(r"^\| `make ([a-z-]+)", page, re.MULTILINE))


def test_every_promise_and_fault_has_one_row() -> None:
    assert promises() == [f"P{number}" for number in range(1, 17)] + [f"F{number}" for number in range(1, 94)]


UNTESTED: set[str] = set()
"""Rows whose tests are still to be written: take one out when its test is there."""


def test_every_promise_and_fault_has_a_test() -> None:
    assert set(promises()) - numbered_tests().keys() == UNTESTED


def test_every_number_in_a_tests_name_is_of_a_promise_or_fault() -> None:
    assert numbered_tests().keys() <= set(promises())


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


# --- what is made from the program is what it would be now ---------------------------------------------------------------


@pytest.mark.parametrize("name", GENERATED)
def test_the_generated_part_is_not_stale(name: str) -> None:
    assert written(name) == due(name), f"docs/{name} is stale: run `make docs` (python -m tests.harness.documents)"


# --- what is told to type works ------------------------------------------------------------------------------------------


def shell_blocks() -> Iterator[tuple[Path, bool, str]]:
    for document in DOCUMENTS:
        for run, block in SHELL.findall(document.read_text(encoding="utf-8")):
            yield document, bool(run), block


def calls(block: str) -> Iterator[list[str]]:
    """The arguments of each `edge-console` in it."""
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        call: list[str] | None = None
        for word in [*words, ";"]:
            if word in {";", "&", "&&", "|", "||"}:
                if call is not None:
                    yield call
                call = None
            elif call is not None:
                call.append(word)
            elif Path(word).name == "edge-console":
                call = []


def is_taken(call: list[str]) -> bool:
    try:
        build_parser().parse_args(call)
    except SystemExit as error:
        return error.code == 0
    return True


def test_every_command_in_a_shell_block_is_one_that_the_program_takes() -> None:
    found = [(document, call) for document, _, block in shell_blocks() for call in calls(block)]
    assert len(found) > 5
    assert [f"{document.name}: edge-console {shlex.join(call)}" for document, call in found if not is_taken(call)] == []


def test_every_command_in_a_sentence_is_one_of_the_program() -> None:
    known = {parser.prog for parser in parsers(build_parser())}
    for document in DOCUMENTS:
        for words in re.findall(r"`edge-console ((?:[a-z]+(?= |`) ?)+)", document.read_text(encoding="utf-8")):
            assert f"edge-console {words.split()[0]}" in known, f"{document.name}: edge-console {words}"


def test_every_make_target_of_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    for document in DOCUMENTS:
        for target in re.findall(r"(?:`|^)make ([a-z-]+)", document.read_text(encoding="utf-8"), re.MULTILINE):
            assert target in targets, f"{document.name}: make {target}"


RUNNABLE = [(document, block) for document, run, block in shell_blocks() if run]


@pytest.mark.parametrize(("document", "block"), RUNNABLE, ids=[name_of(document) for document, _ in RUNNABLE])
async def test_a_block_marked_run_runs(document: Path, block: str, tmp_path: Path) -> None:
    """In an empty home, with the program of this tree; only the backend's port is another one, since 8787 may be taken."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = tmp_path / "edge-console"
    program.write_text(
        f'#!/bin/sh\nc="$1"\ncase "$c" in\n'
        f'backend) shift; set -- backend --port {port} "$@";;\n'
        f'send) shift; set -- send --backend http://127.0.0.1:{port} "$@";;\nesac\n'
        f'exec "{sys.executable}" -m console "$@"\n'
    )
    program.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    environ = {"HOME": str(home), "PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONPATH": str(ROOT), "BACKEND_URL": f"http://127.0.0.1:{port}"}
    script = f"set -eu; trap 'kill $(jobs -p) 2>/dev/null' EXIT\n{block}"
    ran = await asyncio.create_subprocess_exec(
        "bash", "-c", script, cwd=home, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await asyncio.wait_for(ran.communicate(), 90)
    assert ran.returncode == 0, said.decode()
    assert b"Traceback" not in said


# --- what several files say is the same ----------------------------------------------------------------------------------

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_every_dependency_has_its_reason() -> None:
    (page,) = re.findall(r"^## 9\. Dependencies$(.*?)^## ", written("ARCHITECTURE.md"), re.MULTILINE | re.DOTALL)
    told = {name for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for name in re.findall(r"`([\w-]+)`", row)}
    assert told == {re.split(r"[<>=]", one)[0] for one in PROJECT["dependencies"]}


def test_continuous_integration_runs_every_python_that_is_supported() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    told = [one.rpartition(" ")[2] for one in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", one)]
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == told
    assert f">={told[0]}" == PROJECT["requires-python"]


def test_the_changelog_dates_every_version_and_begins_with_what_is_not_released() -> None:
    heads = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert heads[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", head) for head in heads[1:])
    assert heads[1].startswith(f"[{__version__}] - ")


def test_every_exit_code_is_told() -> None:
    codes = {code for name, code in vars(cli_outcome).items() if name.isupper() and isinstance(code, int)}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", written("COMMANDS.md"), re.MULTILINE)} == codes


RULES = {
    "the backoff ladder": Rule.LADDER, "again within 5 s": Rule.RESTART, "after `Retry-After`": Rule.BUSY, "refused": Rule.REFUSED,
    "the ladder, from 16 s": Rule.PROTOCOL, "replaced": Rule.REPLACED, "as for 1008": Rule.REFUSED, "waits as told": Rule.BUSY,
    "the ladder": Rule.LADDER, "somebody else answered": Rule.PORTAL,
}  # fmt: skip


@pytest.mark.parametrize(("head", "trouble"), [("close code", Trouble.CLOSED), ("upgrade answered with", Trouble.HTTP)])
def test_what_the_protocol_says_of_an_end_is_what_the_engine_does(head: str, trouble: Trouble) -> None:
    (rows,) = re.findall(rf"^\| {head} \|.*\n\|---\|---\|\n((?:\|.*\n)+)", written("PROTOCOL.md"), re.MULTILINE)
    told = [
        (int(number), what) for signals, what in re.findall(r"\| (.*) \| (.*) \|", rows) for number in re.findall(r"\b\d{3,4}\b", signals)
    ]
    assert len(told) > 5
    for number, what in told:
        rule = rule_for(Failure(trouble, "", number, retry_after=1.0), first_loss=number == 1001)
        assert RULES[next(words for words in RULES if what.startswith(words))] is rule, f"{number}: {what}"


METRICS = metrics(Snapshot(), 0.0) + backend_metrics(Hub(), 0.0, store_down=False)
DIAGRAM_LINE = re.compile(
    r"sequenceDiagram|end|(?:alt|else) [^:;]+|participant (\w) as [\w ]+|Note over \w(?:,\w)?: [^#]+|\w(?:->>|-->>)\w: [^#;]+"
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_metric_of_the_documents_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    known = set(re.findall(r"^# TYPE (\w+)", METRICS.decode(), re.MULTILINE))
    assert set(re.findall(r"\bedge_(?:console|backend)_(?!api\b)[a-z_]+[a-z]\b", text)) <= known, name_of(document)


def test_each_diagram_is_one_that_mermaid_draws() -> None:
    blocks = re.findall(r"^```mermaid\n(.*?)^```$", written("BACKEND.md"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == len(re.findall(r"^\*\*\d\. ", written("BACKEND.md"), re.MULTILINE)) == 8
    for block in blocks:
        lines = [line.strip() for line in block.splitlines()]
        assert [line for line in lines if not DIAGRAM_LINE.fullmatch(line)] == []
        named = {found[1] for line in lines if (found := DIAGRAM_LINE.fullmatch(line)) and found[1]}
        used = set(re.findall(r"^(?:Note over )?(\w)(?:,|:|-)", "\n".join(lines), re.MULTILINE)) | set(re.findall(r"(?:>>|,)(\w):", block))
        assert used <= named
        assert sum(line.startswith("alt") for line in lines) == lines.count("end")


# --- the README ----------------------------------------------------------------------------------------------------------


def test_the_readme_is_short_and_has_its_two_commands() -> None:
    assert len(README.splitlines()) <= 100
    block = next(block for _, block in SHELL.findall(README) if "make demo" in block)
    assert [line.partition("#")[0].strip() for line in block.splitlines()] == ["make demo", "make test"]
