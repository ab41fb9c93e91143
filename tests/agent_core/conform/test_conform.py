"""The judge, judged: a sound backend passes every clause, and each of five faulty ones fails just the clauses that name its fault."""

import asyncio
import json
import os
import shlex
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree as Xml

import pytest
from websockets.http11 import Request

from agent_core.clock import Moment
from agent_core.conform.bench import Target
from agent_core.conform.checks import CHECKS
from agent_core.conform.clauses import BY_ID, CLAUSES
from agent_core.conform.judge import Result, Verdict, judge
from agent_core.conform.report import as_json, as_junit, lines
from agent_core.reference.faults import Faults
from agent_core.reference.hub import Ending, Hub
from agent_core.reference.orders import CallError
from agent_core.reference.server import Options, ReferenceBackend
from agent_core.reference.session import Session
from tests.harness.pg import Cluster, programs

SECRET, ADMIN = "canary-secret", "canary-admin"
ROOT = Path(__file__).parents[3]
ALL_BUT_IDLE = [clause.id for clause in CLAUSES if clause.id != "W9"]


@asynccontextmanager
async def serving(
    kind: type[ReferenceBackend] = ReferenceBackend, hub: type[Hub] | None = None, store: str | None = None
) -> AsyncIterator[tuple[ReferenceBackend, Target]]:
    backend = kind(Options(secret=SECRET, admin_token=ADMIN, store=store))
    if hub is not None:
        backend.hub = hub(salt="conform")
    async with backend:
        yield backend, Target(backend.url, backend.url.replace("http", "ws"), SECRET, ADMIN)


def failed(verdicts: list[Verdict]) -> set[str]:
    return {verdict.clause.id for verdict in verdicts if verdict.result is Result.FAIL}


class Unregisters(Hub):
    """The late end of a replaced socket takes the new one away."""

    def disconnect(self, agent_id: str, generation: int, ending: Ending) -> None:
        super().disconnect(agent_id, self.connected(agent_id) or 0, ending)


class Crashes(Hub):
    """A malformed frame is an uncaught exception."""

    def receive(self, agent_id: str, generation: int, raw: str | bytes, now: Moment) -> Ending | None:
        json.loads(raw)["type"].lower()
        return super().receive(agent_id, generation, raw, now)


class Forgets(Hub):
    """What cannot be pushed at once is dropped, and what was pushed is not kept."""

    def sync(self, body: Mapping[str, Any], now: Moment) -> str:
        return json.dumps(json.loads(super().sync(body, now)) | {"commands": []})


class NamesOnce(Hub):
    """An event that comes again is not named again."""

    named: ClassVar[set[tuple[object, object]]] = set()

    def sync(self, body: Mapping[str, Any], now: Moment) -> str:
        answer = json.loads(super().sync(body, now))
        fresh = [one for one in answer["ack_events"] if not isinstance(one, str) or (body["edge_agent_id"], one) not in self.named]
        self.named.update((body["edge_agent_id"], one) for one in fresh if isinstance(one, str))
        return json.dumps(answer | {"ack_events": fresh})


class RollsOut(ReferenceBackend):
    """Its ack calls are not there yet."""

    async def up(self) -> None:
        await super().up()
        self.faults = Faults(ack_status=404, old_ack_status=404)


class TakesIdsAsTheyCome(ReferenceBackend):
    """edge_agent_id is not percent-decoded."""

    async def open(self, session: Session, request: Request) -> None:
        await super().open(session, replace(request, path=request.path.replace("%", "%25")))


async def test_the_reference_backend_keeps_every_clause_with_each_store(tmp_path: Path) -> None:
    """PostgreSQL among them where it is installed; side by side, since one clause takes a minute."""

    async def judged(store: str | None) -> list[Verdict]:
        async with serving(store=store) as (_, target):
            return await judge(target)

    with ExitStack() as stack:
        stores = {"memory": None, "sqlite": f"sqlite:{tmp_path}"}
        if programs() is not None:
            stores["postgresql"] = stack.enter_context(Cluster()).dsn()
        found = dict(zip(stores, await asyncio.gather(*map(judged, stores.values())), strict=True))
    short = {
        store: [(one.clause.id, one.sentence) for one in verdicts if one.result is not Result.PASS] for store, verdicts in found.items()
    }
    assert short == {store: [] for store in stores}
    assert [verdict.clause for verdict in found["memory"]] == list(CLAUSES)


async def test_each_verdict_is_heard_as_it_falls() -> None:
    heard: list[Verdict] = []
    async with serving() as (_, target):
        verdicts = await judge(target, ["W1", "H1"], tell=heard.append)
    assert sorted(heard, key=lambda verdict: verdict.clause.id) == sorted(verdicts, key=lambda verdict: verdict.clause.id)


FAULTY: dict[str, tuple[type[ReferenceBackend], type[Hub], set[str]]] = {
    "the late end of the old socket unregisters the new one": (ReferenceBackend, Unregisters, {"W11"}),
    "a malformed frame is an uncaught exception": (ReferenceBackend, Crashes, {"W7"}),
    "commands are forgotten while no socket is open": (ReferenceBackend, Forgets, {"C2", "C3", "C4"}),
    "an event that comes again is not named": (ReferenceBackend, NamesOnce, {"E2"}),
    "acks by HTTP are answered 404 for a while": (RollsOut, Hub, {"A2", "A3", "C6", "H5"}),
    "edge_agent_id is not decoded": (TakesIdsAsTheyCome, Hub, {"W3"}),
}


async def test_each_faulty_backend_fails_its_clauses_and_no_other() -> None:
    async def found(kind: type[ReferenceBackend], hub: type[Hub]) -> set[str]:
        async with serving(kind, hub) as (_, target):
            return failed(await judge(target, ALL_BUT_IDLE))

    results = await asyncio.gather(*(found(kind, hub) for kind, hub, _ in FAULTY.values()))
    assert dict(zip(FAULTY, results, strict=True)) == {name: wanted for name, (_, _, wanted) in FAULTY.items()}


def test_every_clause_has_its_check() -> None:
    assert set(CHECKS) == set(BY_ID)
    assert len(BY_ID) == len(CLAUSES)


async def test_without_a_way_to_queue_those_clauses_are_not_testable() -> None:
    async with serving() as (_, target):
        some = ["W1", "C1", "H1"]
        verdicts = await judge(Target(target.url, target.socket_url, SECRET), some)
    assert [verdict.result for verdict in verdicts] == [Result.PASS, Result.NOT_TESTABLE, Result.PASS]
    assert "--enqueue" in verdicts[1].sentence


async def test_a_command_line_may_queue_and_only_named_agents_are_played() -> None:
    async with serving() as (backend, target):
        program = "import sys, httpx; httpx.post(sys.argv[1], json={'edge_agent_id': sys.argv[2], 'command_type': sys.argv[3],"
        program += "'payload': __import__('json').loads(sys.argv[4])}, headers={'Authorization': 'Bearer canary-admin'}).raise_for_status()"
        line = f'{shlex.quote(sys.executable)} -c "{program}" {target.url}/admin/commands {{agent}} {{type}} {{payload}}'
        known = Target(target.url, target.socket_url, SECRET, enqueue=line, agents=("mac-1",))
        verdicts = await judge(known, ["C1", "C2", "C8", "W3"])
        assert [verdict.result for verdict in verdicts] == [Result.PASS, Result.PASS, Result.NOT_TESTABLE, Result.NOT_TESTABLE]
        assert {agent["edge_agent_id"] for agent in backend.hub.agents()} == {"mac-1"}


async def test_a_wrong_secret_is_said_and_shown_nowhere() -> None:
    async with serving() as (_, target):
        verdicts = await judge(Target(target.url, target.socket_url, "wrong-secret", ADMIN), ["W1", "H1", "C1"])
    assert [verdict.sentence for verdict in verdicts] == [
        "the upgrade was answered HTTP 403", "/edge/sync was answered 401", "the upgrade was answered HTTP 403"
    ]  # fmt: skip
    shown = as_json(verdicts) + as_junit(verdicts) + "\n".join(lines(verdicts))
    assert "wrong-secret" not in shown
    assert ADMIN not in shown
    assert any(line.startswith("→ GET ws://") for line in verdicts[0].exchange)


async def test_nothing_there_is_a_verdict() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    verdicts = await judge(Target(f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}", SECRET), ["W1", "H4"])
    assert failed(verdicts) == {"W1", "H4"}


async def test_the_reports_hold_what_was_said() -> None:
    async with serving(hub=Crashes) as (_, target):
        verdicts = await judge(target, ["W1", "W7"])
    body = json.loads(as_json(verdicts))
    assert [(one["id"], one["result"]) for one in body] == [("W1", "pass"), ("W7", "fail")]
    assert body[1]["exchange"][-1].startswith("←") or "close" in body[1]["sentence"]
    suite = Xml.fromstring(as_junit(verdicts))
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("2", "1", "0")
    text = list(lines(verdicts))
    assert text[-1] == "1 pass, 1 fail, 0 not testable"
    assert any(line.startswith("✗ W7") for line in text)


@pytest.mark.parametrize("error", [CallError(400, "no"), KeyError("x"), RecursionError()])
async def test_whatever_a_backend_answers_is_a_verdict(error: Exception) -> None:
    class Odd(Hub):
        def sync(self, body: Any, now: Moment) -> str:
            if isinstance(error, CallError):
                raise error
            return '{"commands": {"a": 1}, "ack_events": 7}' if isinstance(error, KeyError) else "[" * 50_000

    async with serving(hub=Odd) as (_, target):
        verdicts = await judge(target, ["H1", "H7", "C2", "W1"])
    assert failed(verdicts) >= {"H1", "H7"}
    assert verdicts[-1].result is Result.PASS


async def program(*words: str, **env: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "console", *words, cwd=ROOT, env=os.environ | env,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_the_command_says_it_by_its_exit_code(tmp_path: Path) -> None:
    async with serving(hub=Crashes) as (_, target):
        few = ("--only", "W1", "--only", "W7", "--only", "C1")
        code, out, _ = await program(
            "conform", target.url, *few, "--junit", str(tmp_path / "x.xml"), EDGE_SECRET=SECRET, EDGE_ADMIN_TOKEN=ADMIN
        )
        assert (code, out.splitlines()[-1]) == (1, "2 pass, 1 fail, 0 not testable")
        assert Xml.parse(tmp_path / "x.xml").getroot().get("failures") == "1"
        code, out, _ = await program("conform", target.url, "--only", "W1", "--json", EDGE_SECRET=SECRET)
        assert (code, json.loads(out)[0]["result"]) == (0, "pass")


@pytest.mark.parametrize(
    ("words", "env", "says"),
    [
        (("conform", "ftp://x"), {"EDGE_SECRET": SECRET}, "URL: http"),
        (("conform", "http://127.0.0.1:1", "--only", "Z1"), {"EDGE_SECRET": SECRET}, "Z1 is no clause"),
        (("conform", "http://127.0.0.1:1"), {"EDGE_SECRET": ""}, "EDGE_SECRET"),
    ],
)
async def test_wrong_arguments_are_one_sentence(words: tuple[str, ...], env: dict[str, str], says: str) -> None:
    code, out, err = await program(*words, **env)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert says in err


async def test_dev_judges_again_when_a_file_is_saved(tmp_path: Path) -> None:
    source = tmp_path / "backend.py"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    source.write_text(
        "import http.server, sys\n"
        "class Health(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(500)\n"
        "        self.end_headers()\n"
        f"http.server.HTTPServer(('127.0.0.1', {port}), Health).serve_forever()\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "console", "dev", f"http://127.0.0.1:{port}", "--only", "H4", "--", sys.executable, str(source),
        cwd=tmp_path, env=os.environ | {"EDGE_SECRET": SECRET, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            while not (line := (await process.stdout.readline()).decode()).startswith("✗ H4"):
                assert line
            while "judged again" not in (await process.stdout.readline()).decode():
                pass
            source.write_text(source.read_text().replace("500", "200"))
            while not (line := (await process.stdout.readline()).decode()).startswith("✓ H4"):
                assert line
    finally:
        process.terminate()
        await process.wait()
