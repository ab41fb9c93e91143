"""Where an agent's control socket is, and who is at the other end of it."""

import os
import socket
import struct
import sys
from pathlib import Path

NAME = "agent.sock"
MAX_PATH = 103
"""Bytes that macOS allows a socket's path, the smallest of all systems'."""
LOCAL_PEERCRED = 1
XUCRED = struct.Struct("=IIh16I")


def socket_path(data_dir: Path) -> Path:
    return data_dir.absolute() / NAME


def too_long(path: Path) -> bool:
    return len(os.fsencode(path)) > MAX_PATH


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end of a Unix socket. Raises OSError."""
    if sys.platform == "darwin":
        credentials = connection.getsockopt(0, LOCAL_PEERCRED, XUCRED.size)
        return int(XUCRED.unpack(credentials)[1])
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(uid)


def is_ours(uid: int) -> bool:
    """An agent serves its own user and root."""
    return uid in {os.geteuid(), 0}
