"""The commands that talk to a running agent over its control socket: `attach`, `status`, `reconnect`, `mode`."""

import argparse
import json
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from console.cli.options import PLAIN_HELP, add_config_options, add_filter_option, configuration, judge_filter, seconds
from console.cli.outcome import FAILED, NOT_ONLINE, OK, USAGE, complain
from console.standing import is_online, standing

if TYPE_CHECKING:
    from agent_core.control.client import Viewer
    from agent_core.control.directory import Announced
    from agent_core.events import Event
    from agent_core.snapshot import Snapshot
    from console.tunnel import Tunnel

CONFIRM_WITHIN = 2.0
T = TypeVar("T")


def add_parsers(commands: Any) -> None:
    """`attach`, `status`, `reconnect`, `mode`."""
    attach = commands.add_parser("attach", help="open the console over the agent that runs with this data_dir; q detaches")
    add_config_options(attach)
    there = "an agent of that user on another machine, by ssh: user@host, or user@host:/its/data_dir; with --all any number"
    attach.add_argument("hosts", type=_host, nargs="*", metavar="HOST", help=there)
    attach.add_argument("--all", action="store_true", help="every agent of yours on this machine, a row each; Enter opens one")
    attach.add_argument("--read-only", action="store_true", default=argparse.SUPPRESS, help="only look: the agent refuses the rest")
    attach.add_argument("--plain", action="store_true", default=argparse.SUPPRESS, help=PLAIN_HELP)
    add_filter_option(attach)
    attach.set_defaults(command=_attach)

    status = commands.add_parser("status", help="how the running agent stands; exit 0: online, 3: not online, 4: not running")
    add_config_options(status)
    status.add_argument("--json", action="store_true", help="the whole snapshot")
    status.add_argument("--wait", choices=("online",), help="return as soon as it is so")
    status.add_argument("--timeout", type=seconds, default=30.0, metavar="SECONDS", help="for --wait (default: 30)")
    status.set_defaults(command=_status)

    reconnect = commands.add_parser("reconnect", help="have the running agent dial anew, now")
    add_config_options(reconnect)
    reconnect.set_defaults(command=_reconnect)

    mode = commands.add_parser("mode", help="when the running agent polls: while the socket is down, always, or never")
    add_config_options(mode)
    mode.add_argument("mode", choices=("auto", "always", "never"))
    mode.set_defaults(command=_mode)


def _host(text: str) -> str:
    from console.tunnel import Destination

    try:
        Destination.of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def agent_socket(options: argparse.Namespace) -> Path:
    """Of the agent with this command's data_dir. Raises ConfigError."""
    from agent_core.control.address import socket_path

    return socket_path(configuration(options).data_dir.expanduser())


def _attach(options: argparse.Namespace) -> int:
    from console.run import at_terminal, cannot_draw
    from console.terminal import in_page

    if in_page():
        return _open(options)
    terminal = cannot_draw() if at_terminal() else ""
    if len(options.hosts) > 1 and not options.all:
        return complain("attach opens one agent; attach --all lists those of several hosts", USAGE)
    if options.all and (options.plain or terminal):
        return complain("--all draws a screen; attach --plain shows one agent as lines", USAGE)
    if options.plain or terminal:
        return _open_plain(options, "" if options.plain else terminal)
    if not at_terminal():
        return complain("the console needs a terminal; attach --plain and `edge-console status` need none", USAGE)
    return _attach_to_several(options) if options.all or options.hosts else _open(options)


def _attach_to_several(options: argparse.Namespace) -> int:
    """Those of this machine and of others, or the one of another."""
    from console.run import run_list
    from console.tunnel import Destination, Tunnel

    def open_agent(key: "Announced | Tunnel") -> int:
        return _open(options, key, from_list=True) if isinstance(key, Tunnel) else _open(_options_of(key, options), from_list=True)

    with ExitStack() as stack:
        tunnels = [stack.enter_context(closing(Tunnel(Destination.of(host)))) for host in options.hosts]
        return run_list(open_agent, tunnels) if options.all else _open(options, tunnels[0])


def _open_plain(options: argparse.Namespace, terminal: str) -> int:
    from console.plainmode.run import attach_plain
    from console.tunnel import Destination, Tunnel

    config = configuration(options)
    judge_filter(options, config.data_dir)
    with ExitStack() as stack:
        tunnel = stack.enter_context(closing(Tunnel(Destination.of(options.hosts[0])))) if options.hosts else None
        path = agent_socket(options) if tunnel is None else tunnel.path
        return attach_plain(config, path, options.filter, read_only=options.read_only, terminal=terminal, tunnel=tunnel)


def _open(options: argparse.Namespace, tunnel: "Tunnel | None" = None, *, from_list: bool = False) -> int:
    from console.run import run_attached

    config = configuration(options)
    judge_filter(options, config.data_dir)
    path = agent_socket(options) if tunnel is None else tunnel.path
    return run_attached(config, path, read_only=options.read_only, begin_with=options.filter, from_list=from_list, tunnel=tunnel)


def _options_of(agent: "Announced", options: argparse.Namespace) -> argparse.Namespace:
    """The same command for that agent."""
    file = None if agent.config is None else Path(agent.config)
    return argparse.Namespace(**(vars(options) | {"config": file, "data_dir": Path(agent.data_dir)}))


def _status(options: argparse.Namespace) -> int:
    from agent_core.control.client import Viewer

    by = time.monotonic() + (options.timeout if options.wait else CONFIRM_WITHIN)
    with Viewer(agent_socket(options), read_only=True, past=False) as viewer:
        snapshot = _present(viewer, by)
        while options.wait and not _online(snapshot) and (later := _present(viewer, by)) is not None:
            snapshot = later
    if snapshot is None:
        return complain(f"the agent (pid {viewer.greeting.pid}) runs and says nothing; it may be stopped", NOT_ONLINE)
    if options.json:
        print(_as_json(snapshot))
        return OK if _online(snapshot) else NOT_ONLINE
    for name, value in standing(snapshot, snapshot.at, f"pid {viewer.greeting.pid}, "):
        print(f"{name:<10} {value}")
    return OK if _online(snapshot) else NOT_ONLINE


def _present(viewer: "Viewer", by: float) -> "Snapshot | None":
    """The next whole present; None where none comes in time, or the agent ends."""
    from agent_core.control.messages import Present

    present = _next(viewer, Present, by)
    return None if present is None else present.snapshot


def _next(viewer: "Viewer", kind: type[T], by: float) -> T | None:
    """The next message of this kind; None where none comes in time, or the agent ends."""
    try:
        while (said := viewer.next(by - time.monotonic())) is not None:
            if isinstance(said, kind):
                return said
    except TimeoutError:
        pass
    return None


def _online(snapshot: "Snapshot | None") -> bool:
    return snapshot is not None and is_online(snapshot)


def _as_json(snapshot: "Snapshot") -> str:
    from agent_core.codec import encode

    return json.dumps(encode(snapshot), ensure_ascii=False, indent=1)


def _reconnect(options: argparse.Namespace) -> int:
    from agent_core.events import ReconnectRequested

    return ask(options, ReconnectRequested(), "asked for a new connection")


def _mode(options: argparse.Namespace) -> int:
    from agent_core.events import PollingModeChosen
    from agent_core.snapshot import PollingMode

    return ask(options, PollingModeChosen(PollingMode(options.mode)), f"polling mode: {options.mode}")


def ask(options: argparse.Namespace, event: "Event", said: str) -> int:
    """Post it, and say so once the agent has it."""
    from agent_core.control.client import Viewer
    from agent_core.control.messages import Answer, Post

    with Viewer(agent_socket(options), past=False) as viewer:
        viewer.send(Post(1, event))  # type: ignore[arg-type]  # an operator's event
        if _next(viewer, Answer, time.monotonic() + CONFIRM_WITHIN) is None:
            return complain(f"the agent (pid {viewer.greeting.pid}) does not answer; it may be stopped", FAILED)
    print(said)
    return OK
