"""`edge-console secret`: kept without being shown, in a file or a keychain, and taken by an agent that runs as a service."""

import asyncio
import json
import signal
from pathlib import Path

from agent_core.channels.credentials import fingerprint
from agent_core.reference.tokens import Secrets as Taken
from tests.harness.rig import AGENT, argv_of, files_below, message, program, served, settled, until, write_config

OLD, NEXT = "canary-old-77aa0102", "canary-next-88bb0304"

RING = '''
import json, pathlib
from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError

class Ring(KeyringBackend):
    """A keychain in a file, for a machine that has none."""
    priority = 1
    file = pathlib.Path(__file__).with_name("ring.json")
    def _all(self): return json.loads(self.file.read_text()) if self.file.exists() else {}
    def get_password(self, service, name): return self._all().get(f"{service}/{name}")
    def set_password(self, service, name, password): self.file.write_text(json.dumps(self._all() | {f"{service}/{name}": password}))
    def delete_password(self, service, name):
        kept = self._all()
        if kept.pop(f"{service}/{name}", None) is None: raise PasswordDeleteError(name)
        self.file.write_text(json.dumps(kept))
'''


async def run(tmp_path: Path, *arguments: str, typed: str = "", expect: int = 0, ring: str | None = None) -> list[str]:
    """What it says; the secrets are neither in that nor in its arguments."""
    (tmp_path / "typed").write_text(f"{typed}\n")
    env = {"PYTHON_KEYRING_BACKEND": ring} if ring else {}
    shell = ("sh", "-c", f'exec "$0" "$@" <{tmp_path}/typed')
    async with program("secret", *arguments, cwd=tmp_path, secret=None, under=shell, **env) as process:
        code = await process.ends()
    assert code == expect, (code, process.out, process.err)
    said = "\n".join((*process.out, *process.err))
    assert OLD not in said
    assert NEXT not in said
    return process.out or process.err


async def test_it_is_kept_in_the_file_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("auth: {secret_file: keep/secret}\n")
    (tmp_path / "keep").mkdir()
    file = tmp_path / "keep" / "secret"
    missing = await run(tmp_path, "fingerprint", expect=2)
    assert missing == [f"edge-console: auth.secret_file {file} is not there: edge-console secret set"]
    assert await run(tmp_path, "set", typed=OLD) == [f"kept in the file {file}", fingerprint(OLD)]
    assert file.stat().st_mode & 0o777 == 0o600
    assert await run(tmp_path, "rotate", typed=NEXT) == [f"kept in the file {file}", fingerprint(OLD), f"next {fingerprint(NEXT)}"]
    assert await run(tmp_path, "fingerprint") == [fingerprint(OLD), f"next {fingerprint(NEXT)}"]
    assert file.read_text() == f"{OLD}\n{NEXT}\n"
    assert await run(tmp_path, "rotate", typed=OLD, expect=1) == ["edge-console: that is the current secret"]
    assert "at least 8" in (await run(tmp_path, "set", typed="short", expect=2))[0]
    assert "found nothing" in (await run(tmp_path, "set", expect=2))[0]


async def test_what_outranks_it_is_named(tmp_path: Path) -> None:
    assert "keeps the secret nowhere" in (await run(tmp_path, "set", typed=OLD, expect=2))[0]
    (tmp_path / "config.yaml").write_text("auth: {secret_file: secret}\n")
    (tmp_path / ".env").write_text("EDGE_SECRET=another-secret\n")
    assert "EDGE_SECRET (.env) outranks" in (await run(tmp_path, "set", typed=OLD, expect=2))[0]
    (tmp_path / ".env").unlink()
    (tmp_path / "config.yaml").write_text("auth: {secret_command: [cat, other]}\n")
    (tmp_path / "other").write_text(f"{OLD}\n")
    assert await run(tmp_path, "fingerprint") == [fingerprint(OLD)]
    assert "only what it asks can change it" in (await run(tmp_path, "rotate", typed=NEXT, expect=1))[0]


async def test_the_keychain_keeps_both(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("auth: {keychain: mini}\n")
    (tmp_path / "testring.py").write_text(RING)
    ring = "testring.Ring"
    assert "is not there: edge-console secret set" in (await run(tmp_path, "fingerprint", expect=2, ring=ring))[0]
    await run(tmp_path, "set", typed=OLD, ring=ring)
    await run(tmp_path, "rotate", typed=NEXT, ring=ring)
    assert json.loads((tmp_path / "ring.json").read_text()) == {"edge-console/mini": OLD, "edge-console/mini (next)": NEXT}
    assert await run(tmp_path, "fingerprint", ring=ring) == [fingerprint(OLD), f"next {fingerprint(NEXT)}"]
    await run(tmp_path, "set", typed=NEXT, ring=ring)
    assert json.loads((tmp_path / "ring.json").read_text()) == {"edge-console/mini": NEXT}


async def test_a_service_takes_a_rotation_on_hangup_and_keeps_the_secret_out_of_everything(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    async with served() as backend:
        backend.secrets = Taken(OLD, next=NEXT)
        arguments = write_config(tmp_path, backend.url, auth={"secret_file": "secret"}, logging={"level": "DEBUG"})
        await run(tmp_path, "set", typed=OLD)
        log = tmp_path / "state" / "edge-console.log"
        async with program("service", "run", *arguments, cwd=tmp_path, secret=None) as agent:
            await until(lambda: log.exists() and "real-time mode" in log.read_text())
            await run(tmp_path, "rotate", typed=NEXT)
            agent.signal(signal.SIGHUP)
            await until(lambda: "A next secret is there" in log.read_text())
            backend.secrets = Taken(NEXT)
            await backend.down()
            await backend.up()
            await settled(backend, await backend.queue(AGENT, "send_message_now", message()))
            await until(lambda: file.read_text() == f"{NEXT}\n")
            seen = argv_of(agent.pid) + "\n".join((*agent.out, *agent.err)).encode()
            agent.signal(signal.SIGTERM)
            assert await agent.ends() == 0
    seen += b"".join((await asyncio.to_thread(files_below, tmp_path / "state")).values())
    assert OLD.encode() not in seen
    assert NEXT.encode() not in seen
