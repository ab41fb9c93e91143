"""A service's look at its own interpreter: after an upgrade it says at once whose permissions are gone, and which.

What the new one may, a job of launchd's finds out (permissions.py): some upgrades keep what was granted, and most do not.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from agent_core.config import Config
from agent_core.diagnosis.findings import Stage, Verdict
from agent_core.diagnosis.permissions import permissions
from agent_core.events import PermissionsLost
from agent_core.plain import plain
from agent_core.service.interpreter import Interpreter, interpreter_at, remember, remembered, stamp_of

LOOK_EVERY = 30.0
NAMES = {"disk_access": "full_disk_access", "automation": "automation"}
"""By stage, what the backend is told (PROTOCOL §4)."""
log = logging.getLogger("edge")


async def watch(post: Callable[[PermissionsLost], None], config: Config, executable: Path, every: float = LOOK_EVERY) -> None:
    """Until cancelled; each interpreter is told of once."""
    folder = config.data_dir.expanduser()
    looked: object = None
    while True:
        try:
            stamp: object = stamp_of(executable)
            if stamp != looked:
                found = await interpreter_at(executable)
                await _compare(post, config, folder, found)
        except FileNotFoundError:
            stamp = None
            if looked is not None:
                post(PermissionsLost(f"The Python of this service is gone from {executable}: it will not start again; install it anew"))
        except Exception as error:  # noqa: BLE001  (the task's edge: it looks again, and the agent goes on)
            stamp = looked
            log.warning("the service's interpreter cannot be looked at: %s", plain(error, 200))
        looked = stamp
        await asyncio.sleep(every)


async def _compare(post: Callable[[PermissionsLost], None], config: Config, folder: Path, found: Interpreter) -> None:
    before = remembered(folder)
    if before is None:
        remember(folder, found)
    elif not before.is_same(found):
        stages = await permissions(config)
        lost = [stage for stage in stages if stage.verdict is Verdict.FAILED]
        if lost or [stage.name for stage in stages] == ["permissions"]:
            post(PermissionsLost(_said(before, found, lost or stages), tuple(NAMES[stage.name] for stage in lost if stage.name in NAMES)))
        else:
            log.info("The Python of this service is another one now, %s, and macOS lets it do what %s might", found, before)


def _said(before: Interpreter, found: Interpreter, stages: list[Stage]) -> str:
    what = "; ".join(f"{stage.sentence}: {stage.advice}" if stage.advice else stage.sentence for stage in stages)
    return f"macOS's permissions belong to {before}, and this service's Python is {found}: {what}"
