"""A viewer's end of the control socket, with blocking calls: for one-shot commands, and for the console's own thread."""

import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from agent_core import __version__
from agent_core.codec import FORMAT, CodecError
from agent_core.control.address import is_ours, peer_uid
from agent_core.control.messages import MAX_SAID, Asked, Attach, Greeting, Said, dump, said_of
from agent_core.plain import plain

GREET_WITHIN = 5.0
READ = 2**18


class NotRunning(Exception):
    """No agent answers there; the sentence says so."""


class NoAnswer(NotRunning):
    """An agent is there and says nothing: it is stopped, or held up."""


class OtherVersion(Exception):
    """The agent and this program do not understand each other; the sentence names both."""


class Viewer:
    """One connection. Raises NotRunning, OtherVersion or OSError when it is made."""

    def __init__(self, path: Path, *, read_only: bool = False, past: bool = True) -> None:
        self._connection = _connected(path)
        self._buffer = bytearray()
        try:
            self._connection.settimeout(GREET_WITHIN)
            self.greeting = self._greeted(path)
            self.send(Attach(FORMAT, read_only, past))
            self._connection.settimeout(None)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _greeted(self, path: Path) -> Greeting:
        try:
            greeting = self.next()
        except TimeoutError:
            raise NoAnswer(f"the agent at {plain(path, 200)} does not answer within {GREET_WITHIN:g} s") from None
        except CodecError:
            greeting = None
        else:
            if greeting is None:
                raise NotRunning(f"what answers at {plain(path, 200)} hangs up: no agent runs behind it")
        if not isinstance(greeting, Greeting):
            raise NotRunning(f"what answers at {plain(path, 200)} is no agent of this program")
        if greeting.format != FORMAT:
            both = f"the agent there is edge-console {plain(greeting.version, 40)}, this program {__version__}"
            raise OtherVersion(f"{both}: they do not understand each other; restart the agent, or use its own version")
        return greeting

    def send(self, message: Asked) -> None:
        """Raises OSError where the agent has gone."""
        self._connection.sendall(dump(message))

    def next(self, within: float | None = None) -> Said | None:
        """The next message, or None when the agent has gone. Raises TimeoutError, CodecError, OSError."""
        if within is not None:
            self._connection.settimeout(max(within, 0.001))
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > MAX_SAID:
                raise CodecError("a line is too long")
            try:
                data = self._connection.recv(READ)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return said_of(line)

    def close(self) -> None:
        """Also from another thread: `next` then returns None."""
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        finally:
            self._connection.close()


def _connected(path: Path) -> socket.socket:
    """Raises NotRunning, OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(path))
        ours = is_ours(peer_uid(connection))
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        connection.close()
        raise NotRunning(f"no agent runs with data_dir {plain(path.parent, 200)}; `edge-console --no-ui` starts one") from None
    except OSError:
        connection.close()
        raise
    if not ours:
        connection.close()
        raise NotRunning(f"what listens at {plain(path, 200)} belongs to another user")
    return connection
