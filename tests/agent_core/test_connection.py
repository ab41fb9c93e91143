"""What `connection.py` needs of `websockets` beyond its documentation: a release that changes one of these names fails here first."""

import ast
import asyncio
import socket
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.protocol import Event, State
from websockets.uri import parse_uri

from agent_core.channels import connection

ON_CONNECTION = {"connection_made", "data_received", "process_event", "send_data", "send_context"}
ON_CONNECTION_MADE = {"loop", "transport", "protocol", "response", "close_exc", "close_timeout"}
ON_PROTOCOL = {"state", "current_size", "max_message_size", "data_to_send", "close_expected"}


async def test_the_names_of_websockets_that_its_documentation_does_not_promise() -> None:
    protocol = ClientProtocol(parse_uri("ws://backend/"), max_size=7)
    ours, theirs = socket.socketpair()
    _, made = await asyncio.get_running_loop().create_connection(lambda: ClientConnection(protocol), sock=ours)
    assert {name for name in ON_CONNECTION if not callable(getattr(ClientConnection, name, None))} == set()
    assert {name for name in ON_CONNECTION_MADE - {"close_exc"} if not hasattr(made, name)} == set()
    assert {name for name in ON_PROTOCOL if not hasattr(protocol, name)} == set()
    assert made.loop is asyncio.get_running_loop()
    assert made.response is None
    assert (protocol.state, protocol.current_size, protocol.max_message_size) == (State.CONNECTING, None, 7)
    assert protocol.data_to_send() == []
    assert not protocol.close_expected()
    theirs.close()
    await made.wait_closed()
    assert isinstance(made.close_exc, ConnectionClosed)
    assert Frame in Event.__args__
    assert Frame(Opcode.TEXT, b"hi", fin=True).data == b"hi"
    assert callable(connect.process_redirect)


def test_no_other_such_name_is_touched() -> None:
    tree = ast.parse(Path(connection.__file__).read_text())
    ours = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    ours |= {node.target.id for node in ast.walk(tree) if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
    ours |= {
        node.attr for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"
    }  # fmt: skip
    touched: dict[str, set[str]] = {"self": set(), "super()": set(), "protocol": set(), "self.protocol": set()}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in touched:
            touched[ast.unparse(node.value)].add(node.attr)
    assert touched["self"] - ours <= ON_CONNECTION | ON_CONNECTION_MADE
    assert touched["super()"] <= ON_CONNECTION | {"__init__"}
    assert touched["protocol"] | touched["self.protocol"] <= ON_PROTOCOL
