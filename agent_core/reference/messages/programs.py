"""`osascript` and `imsg` for a PATH without a Mac: each asks the program Messages of a bench, and answers as the real one does.

python -m agent_core.reference.messages.programs osascript FOLDER -e SCRIPT way target service kind content
python -m agent_core.reference.messages.programs imsg FOLDER rpc
"""

import json
import os
import shlex
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PORT_FILE = "messages.port"
ROOT = Path(__file__).parents[3]
NOT_RUNNING = {"error": -600, "said": "Messages got an error: Application isn’t running."}


def install(folder: Path, *names: str) -> Path:
    """The directory to put in front of the PATH; without names both programs are in it."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for name in names or ("osascript", "imsg"):
        words = shlex.join([sys.executable, "-m", "agent_core.reference.messages.programs", name, str(folder)])
        (programs / name).write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {words} "$@"\n')
        (programs / name).chmod(0o755)
    return programs


@contextmanager
def on_the_path(folder: Path, *names: str) -> Iterator[None]:
    """Installed, and found before any other of their name."""
    path = os.environ.get("PATH", "")
    os.environ["PATH"] = f"{install(folder, *names)}{os.pathsep}{path}"
    try:
        yield
    finally:
        os.environ["PATH"] = path


def ask(folder: Path, **request: Any) -> dict[str, Any]:
    """What Messages answers, however long it takes."""
    try:
        port = int((folder / PORT_FILE).read_text())
        with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rwb") as file:
            file.write(json.dumps(request).encode() + b"\n")
            file.flush()
            line = file.readline()
            answer: dict[str, Any] = json.loads(line) if line else NOT_RUNNING
            if answer.get("ignores_term"):
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                file.read()
    except OSError:
        return NOT_RUNNING
    return answer


def osascript(folder: Path, arguments: Sequence[str]) -> int:
    """The script's own words are not run: what counts is what `on run argv` gets."""
    flag, _script, way, target, service, kind, content = arguments
    assert flag == "-e"
    answer = ask(folder, by="osascript", by_id=way == "chat", target=target, service=service, **{kind: content})
    if "error" in answer:
        sys.stderr.write(f"0:0: execution error: {answer['said']} ({answer['error']})\n")
        return 1
    return 0


def imsg(folder: Path, arguments: Sequence[str]) -> int:
    """JSON-RPC, one object a line."""
    assert arguments == ["rpc"]
    for line in sys.stdin:
        request = json.loads(line)
        answer = _call(folder, request["method"], request.get("params", {}))
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": request["id"], **answer}) + "\n")
        sys.stdout.flush()
    return 0


def _call(folder: Path, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
    if method != "send":
        return {"error": {"code": -32601, "message": "Method not found", "data": method}}
    by_id = "chat_guid" in parameters
    target = parameters["chat_guid"] if by_id else parameters["to"]
    service = {"sms": "SMS"}.get(parameters.get("service", "imessage"), "iMessage")
    content = {name: parameters[name] for name in ("text", "file") if name in parameters}
    answer = ask(folder, by="imsg", by_id=by_id, target=target, service=service, **content)
    if "error" in answer:
        return {"error": {"code": answer["error"], "message": answer["said"]}}
    return {"result": {"ok": True} | ({"guid": answer["guid"]} if answer["guid"] else {})}


if __name__ == "__main__":
    os.umask(0o077)
    name, place, *rest = sys.argv[1:]
    sys.exit({"osascript": osascript, "imsg": imsg}[name](Path(place), rest))
