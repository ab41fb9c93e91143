"""`ssh` for the tests: it forwards a socket, runs a command in a home of its own, refuses and dies as the real one does.

`python fakessh.py HOME …` is `ssh …` to a machine whose user lives in HOME; a file `refused` there has it refuse with those words.
"""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


def main(home: Path, words: Sequence[str]) -> int:
    here, there, command = parsed(words)
    with (home / "asked").open("a") as file:
        file.write(" ".join(words) + "\n")
    with suppress(FileNotFoundError):
        sys.stderr.write((home / "refused").read_text())
        return 255
    if here:
        (home / "pid").write_text(str(os.getpid()))
        listening = socket.socket(socket.AF_UNIX)
        os.umask(0o177)
        listening.bind(here)
        listening.listen()
        threading.Thread(target=serve, args=(listening, there), daemon=True).start()
    return subprocess.run(command, shell=True, env=os.environ | {"HOME": str(home)}, stderr=subprocess.DEVNULL, check=False).returncode


def parsed(words: Sequence[str]) -> tuple[str, str, str]:
    """The socket here, the one there, and the command."""
    given = iter(words)
    here = there = ""
    for word in given:
        if word == "-o":
            assert "=" in next(given)
        elif word == "-L":
            here, _, there = next(given).partition(":")
        else:
            assert word == "--", word
            break
    _host, command = given
    return here, there, command


def serve(listening: socket.socket, there: str) -> None:
    """As ssh does: whoever comes is let in, and hung up on where nobody listens at the other end."""
    while True:
        client, _ = listening.accept()
        far = socket.socket(socket.AF_UNIX)
        try:
            far.connect(there)
        except OSError:
            client.close()
            continue
        for one, other in ((client, far), (far, client)):
            threading.Thread(target=carry, args=(one, other), daemon=True).start()


def carry(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65_536):
            other.sendall(data)
    with suppress(OSError):
        other.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
