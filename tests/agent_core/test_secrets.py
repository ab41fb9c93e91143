"""Where the secret is kept, and its rotation under traffic: no command is refused, nothing is started anew, and the secret is nowhere."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from agent_core.channels.credentials import fingerprint
from agent_core.config import Config
from agent_core.events import PollingModeChosen
from agent_core.reference.tokens import Secrets as Taken
from agent_core.secret_sources import CommandSource, FileSource, SecretMissing, Secrets, SecretUnavailable, source_of, with_secret
from agent_core.snapshot import Phase, PollingMode
from tests.harness.rig import AGENT, config, files_below, living, message, served, settled, until

OLD, NEXT = "canary-old-77aa0102", "canary-next-88bb0304"


def kept(path: Path, *lines: str, mode: int = 0o600) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    path.chmod(mode)
    return path


# --- sources -------------------------------------------------------------------------------------------------------------


def test_a_file_holds_the_secret_and_the_next(tmp_path: Path) -> None:
    source = FileSource(kept(tmp_path / "secret", OLD))
    assert source.read() == Secrets(OLD)
    source.write(Secrets(OLD, NEXT))
    assert source.read() == Secrets(OLD, NEXT)
    assert source.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("lines", "mode", "said"),
    [
        ((OLD,), 0o640, "has mode 0640, so others may read it: chmod 600 it"),
        ((), 0o600, "it gives 0"),
        ((OLD, NEXT, "third"), 0o600, "it gives 3"),
        (("short",), 0o600, "gives no secret that can be sent: expected at least 8 printable ASCII characters"),
        (("with a space in it",), 0o600, "found whitespace"),
    ],
)
def test_an_unfit_file_is_one_sentence(tmp_path: Path, lines: tuple[str, ...], mode: int, said: str) -> None:
    with pytest.raises(SecretMissing) as missing:
        FileSource(kept(tmp_path / "secret", *lines, mode=mode)).read()
    assert said in str(missing.value)
    assert not any(line in str(missing.value) for line in lines if len(line) > 7)


def test_a_file_that_is_not_there_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(SecretMissing, match="edge-console secret set"):
        FileSource(tmp_path / "none").read()


def test_f78_a_pipe_is_no_file_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(SecretMissing, match="is no regular file"):
        FileSource(tmp_path / "pipe").read()


def test_a_command_prints_it() -> None:
    assert CommandSource((sys.executable, "-c", f"print('{OLD}'); print('{NEXT}')")).read() == Secrets(OLD, NEXT)
    with pytest.raises(SecretUnavailable, match="failed with exit 3"):
        CommandSource((sys.executable, "-c", f"print('{OLD}'); raise SystemExit(3)")).read()
    with pytest.raises(SecretMissing, match="cannot be run"):
        CommandSource(("/no/such/program",)).read()
    with pytest.raises(SecretUnavailable, match="only what it asks can change it"):
        CommandSource(("x",)).write(Secrets(OLD))


def sectioned(tmp_path: Path, secret: str, **auth: Any) -> Config:
    return config(tmp_path, "http://127.0.0.1:1", secret=secret, auth={"secret": secret} | auth)


def test_the_environment_outranks_the_file(tmp_path: Path) -> None:
    file = kept(tmp_path / "secret", OLD)
    assert with_secret(sectioned(tmp_path, "", secret_file=file)).auth.secret.get_secret_value() == OLD
    assert with_secret(sectioned(tmp_path, NEXT, secret_file=file)).auth.secret.get_secret_value() == NEXT


def test_there_is_one_place_for_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected one place for the secret, and auth\.secret_file is one"):
        sectioned(tmp_path, "", secret_file=tmp_path / "secret", secret_command=["x"])
    assert source_of(sectioned(tmp_path, OLD).auth) is None


# --- rotation ------------------------------------------------------------------------------------------------------------


def rotating(tmp_path: Path, url: str, file: Path, mode: str = "bearer") -> Config:
    auth = {"secret": "", "secret_file": file, "mode": mode}
    return with_secret(config(tmp_path / "state", url, secret="", auth=auth))


@pytest.mark.parametrize("mode", ["bearer", "hmac_token"])
async def test_a_rotation_refuses_no_command_and_starts_nothing_anew(tmp_path: Path, mode: str) -> None:
    file = kept(tmp_path / "secret", OLD)
    async with served() as backend:
        backend.secrets = Taken(OLD)
        async with living(rotating(tmp_path, backend.url, file, mode)) as agent:
            await agent.online()
            sent = [await backend.queue(AGENT, "send_message_now", message("old alone"))]
            await settled(backend, *sent)
            FileSource(file).write(Secrets(OLD, NEXT))
            backend.secrets = Taken(OLD, next=NEXT)
            sent.append(await backend.queue(AGENT, "send_message_now", message("both")))
            await settled(backend, *sent)
            backend.secrets = Taken(NEXT)
            await backend.down()
            await agent.reaches(Phase.WAITING, Phase.CONNECTING)
            await backend.up()
            sent.append(await backend.queue(AGENT, "send_message_now", message("new alone")))
            await agent.online()
            await settled(backend, *sent)
            await agent.hears(f"takes the next secret .{fingerprint(NEXT)}.; the old one .{fingerprint(OLD)}. is dropped")
            await until(lambda: FileSource(file).read() == Secrets(NEXT))
            await agent.until(lambda s: s.commands.completed == len(sent))
            assert not agent.said("HTTP 40")
            assert agent.now.link.phase is Phase.ONLINE
    everything = b"".join(files_below(tmp_path / "state").values()) + "\n".join(agent.lines).encode()
    assert OLD.encode() not in everything
    assert NEXT.encode() not in everything


async def test_the_next_secret_is_tried_by_a_sync_while_the_link_lives(tmp_path: Path) -> None:
    """So that the operator knows that it works before the old one is taken away."""
    file = kept(tmp_path / "secret", OLD, NEXT)
    async with served() as backend:
        backend.secrets = Taken(OLD, next=NEXT)
        async with living(rotating(tmp_path, backend.url, file)) as agent:
            await agent.online()
            agent.agent.reload()
            agent.post(PollingModeChosen(PollingMode.ALWAYS))
            await agent.hears("takes the next secret")
            assert agent.now.link.sessions == 1


async def test_a_next_secret_that_is_refused_costs_no_link(tmp_path: Path) -> None:
    file = kept(tmp_path / "secret", OLD, NEXT)
    async with served() as backend:
        backend.secrets = Taken(OLD)
        async with living(rotating(tmp_path, backend.url, file)) as agent:
            await agent.online()
            agent.agent.reload()
            await agent.hears(f"A next secret is there .{fingerprint(NEXT)}.")
            agent.post(PollingModeChosen(PollingMode.ALWAYS))
            await agent.until(lambda s: s.polling.polls >= 2)
            done = await backend.queue(AGENT, "send_message_now", message())
            await settled(backend, done)
            assert FileSource(file).read() == Secrets(OLD, NEXT)
            assert agent.now.link.sessions == 1


async def test_a_secret_that_was_wrong_is_read_anew_after_the_refusal(tmp_path: Path) -> None:
    file = kept(tmp_path / "secret", "wrong-wrong-wrong")
    async with served() as backend:
        backend.secrets = Taken(OLD)
        async with living(rotating(tmp_path, backend.url, file)) as agent:
            await agent.reaches(Phase.REFUSED)
            kept(file, OLD)
            await agent.online()
            assert agent.said(f"The secret was changed: {fingerprint(OLD)} from now on")
