"""The command `disk_free`: how much room is left on this machine's disk."""

import asyncio
import shutil
from pathlib import Path

from agent_core.entries import EffectClass, Trait
from agent_core.frames import Command
from agent_core.handlers import handles
from agent_core.messengers import Context
from agent_core.records import Outcome

UNITS = {"bytes": 1, "MB": 10**6, "GB": 10**9}


@handles("disk_free", trait=Trait(EffectClass.HARMLESS, idempotent=True))
async def disk_free(command: Command, context: Context) -> Outcome:
    unit = command.payload.get("unit", "GB")
    if not isinstance(unit, str) or unit not in UNITS:
        return Outcome(error=f"unit must be one of {', '.join(UNITS)}")
    usage = await asyncio.to_thread(shutil.disk_usage, Path.home())
    return Outcome(result={"free": round(usage.free / UNITS[unit], 1), "unit": unit})
