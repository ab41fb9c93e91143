"""The doctor against backends that are well, away, wrong or mute: the right stage, and the right hint."""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from agent_core.channels.credentials import fingerprint
from agent_core.clock import SystemClock
from agent_core.config import Config
from agent_core.diagnosis.findings import Conclusion, Stage, Verdict, conclude
from agent_core.diagnosis.stages import diagnose
from agent_core.journal.data_dir import DataDirLock
from agent_core.reference.faults import Faults
from tests.harness.faultproxy import FaultProxy
from tests.harness.rig import AGENT, SECRET, HttpStub, config, for_a_while, http_answer, living, message, served, settled

NOTICED = ("upgrade", "auth", "pong", "sync")
ALL = (
    "configuration",
    "secret",
    "data_dir",
    "disk",
    "messenger",
    "policy",
    "proxy",
    "dns",
    "tcp",
    "tls",
    "health",
    "clock",
    "lock",
    *NOTICED,
)


class Looked(dict[str, Stage]):
    """Stages by name, and what follows from them."""

    conclusion: Conclusion | None = None

    def failed(self) -> list[str]:
        return [name for name, stage in self.items() if stage.verdict is Verdict.FAILED]

    @property
    def cause(self) -> str:
        assert self.conclusion is not None
        return self.conclusion.cause


async def look(configuration: Config, **more: Any) -> Looked:
    found = Looked()
    async for stage in diagnose(configuration, SystemClock(), **{"within": 2.0, **more}):
        found[stage.name] = stage
    found.conclusion = conclude(list(found.values()), configuration)
    assert SECRET not in repr(found)
    assert all(stage.ms <= 5_500 for stage in found.values())
    return found


async def test_a_healthy_backend_has_no_failing_stage_and_keeps_what_it_owes(tmp_path: Path) -> None:
    async with served() as backend:
        name = await backend.queue(AGENT, "send_message_now", message("still owed"))
        found = await look(config(tmp_path, backend.url))
        assert tuple(found) == ALL
        assert [stage.name for stage in found.values() if stage.verdict is not Verdict.OK] == ["tls"]
        assert found.conclusion is None
        assert fingerprint(SECRET) in found["secret"].sentence
        assert backend.hub.order(name).ack is None
        await for_a_while(backend.options.rules.redeliver_after, lambda: backend.hub.order(name).ack is None)
        async with living(config(tmp_path, backend.url)) as here:
            await settled(backend, name)
            assert here.sent() == ["still owed"]


async def test_nothing_listens(tmp_path: Path) -> None:
    async with served() as backend:
        url = backend.url
    found = await look(config(tmp_path, url))
    assert found.failed() == ["tcp"]
    assert "nothing listens" in found.cause
    assert {found[name].verdict for name in NOTICED} == {Verdict.SKIPPED}


async def test_a_name_that_leads_nowhere(tmp_path: Path) -> None:
    found = await look(config(tmp_path, "https://backend.invalid"), within=4.0)
    assert found.failed() == ["dns"]
    assert found["tcp"].sentence == "dns failed"


@pytest.mark.parametrize(
    ("kind", "sentence", "cause"),
    [
        ("wrong-host", "elsewhere.example", "not for localhost"), ("expired", "until ", "expired"),
        ("stranger", "by trustme", "nobody this machine trusts"),
    ],
)  # fmt: skip
async def test_a_certificate_that_does_not_verify_is_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, sentence: str, cause: str
) -> None:
    trusted, stranger = trustme.CA(), trustme.CA()
    trusted.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    yesterday = datetime.now(UTC) - timedelta(days=1)
    issued: dict[str, Callable[[], trustme.LeafCert]] = {
        "wrong-host": lambda: trusted.issue_cert("elsewhere.example"),
        "expired": lambda: trusted.issue_cert("localhost", not_before=yesterday - timedelta(days=9), not_after=yesterday),
        "stranger": lambda: stranger.issue_cert("localhost"),
    }
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued[kind]().configure_cert(tls)
    async with served() as backend, FaultProxy(backend.port, tls=tls) as proxy:
        found = await look(config(tmp_path, f"https://localhost:{proxy.port}"))
        assert found.failed() == ["tls"]
        assert sentence in found["tls"].sentence
        assert cause in found.cause
        assert bytes(proxy.received) == b""


async def test_a_good_certificate_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted = trustme.CA()
    trusted.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trusted.issue_cert("localhost").configure_cert(tls)
    async with served() as backend, FaultProxy(backend.port, tls=tls) as proxy:
        found = await look(config(tmp_path, f"https://localhost:{proxy.port}"))
        assert found.conclusion is None
        assert found["tls"].sentence.startswith("for localhost, by ")
        near = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trusted.issue_cert("localhost", not_after=datetime.now(UTC) + timedelta(days=3)).configure_cert(near)
        async with FaultProxy(backend.port, tls=near) as other:
            found = await look(config(tmp_path, f"https://localhost:{other.port}"))
            assert found["tls"].verdict is Verdict.WARNING


async def test_a_port_that_does_not_speak_tls(tmp_path: Path) -> None:
    async with served() as backend:
        found = await look(config(tmp_path, f"https://localhost:{backend.port}"))
    assert found.failed() == ["tls"]
    assert "does not speak TLS" in found.cause


async def test_a_web_page_in_the_backends_place(tmp_path: Path) -> None:
    page = http_answer(b"<html><title>Hotel \x1b[31mlogin</title>", "200 OK", "Content-Type: text/html")
    async with HttpStub(lambda _path: page) as stub:
        found = await look(config(tmp_path, stub.url))
    assert found.failed() == ["upgrade", "sync"]
    assert found["health"].verdict is Verdict.WARNING
    assert "Hotel ␛[31mlogin" in found["health"].sentence
    assert "ordinary web page" in found.cause


async def test_a_redirect_is_named_and_not_followed(tmp_path: Path) -> None:
    async with HttpStub(lambda _path: http_answer(b"", "302 Found", "Location: https://login.example/")) as stub:
        found = await look(config(tmp_path, stub.url))
    assert "HTTP 302 Found to https://login.example/" in found["upgrade"].sentence


async def test_403_on_the_upgrade_while_sync_is_accepted(tmp_path: Path) -> None:
    async with served() as backend:
        backend.faults = Faults(upgrade_status=403, upgrade_body=f"not you, {SECRET}\x1b]0;x")
        found = await look(config(tmp_path, backend.url))
    assert found.failed() == ["upgrade"]
    assert found.cause.startswith("the same secret is accepted by /edge/sync but refused by /edge/ws")
    assert "not you, ***␛]0;x" in found["upgrade"].sentence
    exchange = found["upgrade"].exchange
    assert exchange is not None
    assert exchange.status == 403
    assert ("Authorization", "Bearer ***") in exchange.request


async def test_401_on_both_ways(tmp_path: Path) -> None:
    async with served() as backend:
        found = await look(config(tmp_path, backend.url, secret="another-secret-1"))
    assert found.failed() == ["upgrade", "sync"]
    assert f"a wrong secret (fingerprint {fingerprint('another-secret-1')})" in found.cause


async def test_sync_alone_refuses(tmp_path: Path) -> None:
    async with served() as backend:
        backend.faults = Faults(sync_status=403)
        found = await look(config(tmp_path, backend.url))
    assert found.failed() == ["sync"]
    assert "accepted by /edge/ws but refused by /edge/sync" in found.cause


@pytest.mark.parametrize(
    ("status", "cause"), [(404, "/edge/sync is there and /edge/ws is not"), (426, "strips it"), (503, "busy"), (502, "fails (HTTP 502)")]
)
async def test_other_answers_to_the_upgrade(tmp_path: Path, status: int, cause: str) -> None:
    async with served() as backend:
        backend.faults = Faults(upgrade_status=status)
        found = await look(config(tmp_path, backend.url))
    assert found.failed() == ["upgrade"]
    assert cause in found.cause


async def test_a_server_that_accepts_and_says_nothing(tmp_path: Path) -> None:
    async with served() as backend, FaultProxy(backend.port) as proxy:
        proxy.swallow = True
        found = await look(config(tmp_path, f"http://127.0.0.1:{proxy.port}"), within=0.5)
    assert found.failed() == ["health", "upgrade", "sync"]
    assert "says nothing" in found.cause
    assert found["upgrade"].exchange is not None


async def test_an_upgrade_that_hangs_where_http_works(tmp_path: Path) -> None:
    async with served() as backend, FaultProxy(backend.port) as proxy:
        proxy.swallow = True
        found = await look(config(tmp_path, backend.url, backend={"websocket_url": proxy.socket_url}), within=0.5)
    assert found.failed() == ["upgrade"]
    assert "does not pass WebSockets" in found.cause
    assert "tcp http" in found


async def test_only_health_is_answered(tmp_path: Path) -> None:
    async with served() as backend:
        backend.faults = Faults(delay_seconds=60)
        found = await look(config(tmp_path, backend.url), within=0.5)
    assert found.failed() == ["upgrade", "sync"]
    assert "neither /edge/ws nor /edge/sync" in found.cause
    assert found.conclusion is not None
    assert "by polling" not in found.conclusion.advice


async def test_the_socket_refuses_and_sync_does_not_answer(tmp_path: Path) -> None:
    async with served() as backend:
        backend.faults = Faults(upgrade_status=403, sync_status=500)
        found = await look(config(tmp_path, backend.url))
    assert found.failed() == ["upgrade", "sync"]
    assert found.conclusion is not None
    assert "by polling" not in found.conclusion.advice


async def test_let_in_and_thrown_out(tmp_path: Path) -> None:
    async with served() as backend:
        backend.faults = Faults(close_code=4401)
        found = await look(config(tmp_path, backend.url))
        assert found.failed() == ["auth"]
        assert "4401 as told" in found["auth"].sentence
        assert "the socket's own check differs" in found.cause
        backend.faults = Faults(close_code=1012)
        found = await look(config(tmp_path, backend.url))
        assert found.failed() == ["pong"]
        assert "closes it again (1012)" in found.cause


async def test_a_backend_that_answers_no_json_ping_is_a_warning(tmp_path: Path) -> None:
    async with served() as backend:
        backend.faults = Faults(silent=True)
        found = await look(config(tmp_path, backend.url), within=0.5)
    assert found.conclusion is None
    assert found["pong"].verdict is Verdict.WARNING


async def test_a_running_agent_is_left_alone(tmp_path: Path) -> None:
    async with served() as backend:
        async with living(config(tmp_path, backend.url)) as here:
            with DataDirLock(tmp_path):
                await here.online()
                before = backend.hub.counts["connects"], backend.hub.counts["syncs"]
                found = await look(config(tmp_path, backend.url))
                assert found.conclusion is None
                assert "an agent runs (this very program)" in found["lock"].sentence
                assert {found[name].verdict for name in NOTICED} == {Verdict.SKIPPED}
                assert (backend.hub.counts["connects"], backend.hub.counts["syncs"]) == before
                assert here.now.link.sessions == 1
                forced = await look(config(tmp_path, backend.url), force=True)
                assert forced["lock"].verdict is Verdict.WARNING
                assert forced["upgrade"].verdict is Verdict.OK
        assert not DataDirLock(tmp_path).held


async def test_the_clock_is_compared(tmp_path: Path) -> None:
    answer = http_answer(b"{}", "200 OK", "Date: Thu, 05 Nov 2020 20:30:00 GMT")
    async with HttpStub(lambda _path: answer) as stub:
        found = await look(config(tmp_path, stub.url))
    assert found["clock"].verdict is Verdict.WARNING
    assert "ahead of the backend's" in found["clock"].sentence


async def test_what_is_of_this_machine(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("EDGE_SECRET=x\n")
    env_file.chmod(0o644)
    occupied = tmp_path / "file"
    occupied.touch()
    async with served() as backend:
        found = await look(config(occupied, backend.url), env_file=env_file)
        assert found.failed() == ["data_dir"]
        assert "mode 0644" in found["secret"].sentence
        assert found["upgrade"].verdict is Verdict.OK
        missing = await look(config(tmp_path / "not" / "there", backend.url, secret=""))
        assert missing.failed() == ["secret"]
        assert {missing[name].verdict for name in NOTICED} == {Verdict.SKIPPED}
        assert "first start makes it" in missing["data_dir"].sentence
        assert not (tmp_path / "not").exists()


async def test_without_an_id_it_registers_as_the_agent_would(tmp_path: Path) -> None:
    async with served() as backend:
        found = await look(config(tmp_path, backend.url, edge={"agent_id": None, "user_phone": "+13105550100"}))
    assert found.conclusion is None
    assert "the backend calls this agent" in found["register"].sentence


async def test_without_a_socket_only_http_is_looked_at(tmp_path: Path) -> None:
    async with served() as backend:
        found = await look(config(tmp_path, backend.url, websocket={"enabled": False}))
    assert found.conclusion is None
    assert found["upgrade"].sentence == "websocket.enabled is false"
    assert found["sync"].verdict is Verdict.OK


async def test_a_proxy_is_named_without_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://user:open-sesame@127.0.0.1:9")
    found = await look(config(tmp_path, "https://backend.example"))
    assert "goes through http://127.0.0.1:9" in found["proxy"].sentence
    assert found.failed() == ["tcp"]
    assert "open-sesame" not in repr(found)


async def test_another_agent_with_the_same_id_is_named(tmp_path: Path) -> None:
    async with served() as backend:
        backend.faults = Faults(close_code=4009)
        found = await look(config(tmp_path, backend.url))
    assert "another agent with this edge.agent_id" in found.cause
