"""All clauses side by side, each by a check of its own with agents of its own, within two minutes in all."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum

from agent_core.conform.bench import Bench, Target
from agent_core.conform.checks import CHECKS
from agent_core.conform.clauses import BY_ID, CLAUSES, Clause
from agent_core.conform.peer import Broken, Untestable
from agent_core.plain import plain

WITHIN = 110.0
AT_ONCE = 16


class Result(StrEnum):
    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    NOT_TESTABLE = "not testable"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`exchange` is what was said, the last lines of it: `→` by the judge, `←` by the backend."""

    clause: Clause
    result: Result
    sentence: str
    exchange: tuple[str, ...] = ()


async def judge(target: Target, only: Sequence[str] = (), tell: Callable[[Verdict], None] = lambda _verdict: None) -> list[Verdict]:
    """A verdict for each clause, in their order; `tell` hears each as it falls. Raises KeyError for an id that is no clause's."""
    wanted = [BY_ID[name] for name in only] or list(CLAUSES)
    places = asyncio.Semaphore(min(AT_ONCE, len(target.agents)) if target.agents else AT_ONCE)
    free: asyncio.Queue[str] | None = None
    if target.agents:
        free = asyncio.Queue()
        for agent_id in target.agents:
            free.put_nowait(agent_id)
    deadline = asyncio.get_running_loop().time() + WITHIN

    async def one(clause: Clause) -> Verdict:
        verdict = await _judged(clause, target, places, free, deadline)
        tell(verdict)
        return verdict

    longest_first = sorted(wanted, key=lambda clause: clause.id != "W9")
    found = {verdict.clause.id: verdict for verdict in await asyncio.gather(*map(one, longest_first))}
    return [found[clause.id] for clause in wanted]


async def _judged(clause: Clause, target: Target, places: asyncio.Semaphore, free: "asyncio.Queue[str] | None", deadline: float) -> Verdict:
    if clause.queues and not target.queues:
        return Verdict(clause, Result.NOT_TESTABLE, "needs a way to queue commands: --enqueue or --admin-token")
    if clause.id == "C8" and len(target.agents) == 1:
        return Verdict(clause, Result.NOT_TESTABLE, "takes two agents")
    bench: Bench | None = None
    try:
        async with asyncio.timeout_at(deadline), places, AsyncExitStack() as stack:
            bench = Bench(target, stack, free)
            await CHECKS[clause.id](bench)
    except Broken as error:
        return _verdict(clause, Result.FAIL, str(error), bench)
    except Untestable as error:
        return _verdict(clause, Result.NOT_TESTABLE, str(error), bench)
    except TimeoutError:
        return _verdict(clause, Result.NOT_TESTABLE, f"not done within {WITHIN:g} s", bench)
    except Exception as error:  # noqa: BLE001  (a check's edge: whatever a backend answers is a verdict)
        return _verdict(clause, Result.FAIL, f"the answer could not be used: {type(error).__name__}: {plain(error, 100)}", bench)
    return Verdict(clause, Result.PASS, clause.says)


def _verdict(clause: Clause, result: Result, sentence: str, bench: Bench | None) -> Verdict:
    return Verdict(clause, result, sentence, tuple(bench.record.lines) if bench is not None else ())
