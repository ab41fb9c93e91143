"""Some cycles of the torture, and that its judge sees what it is there for."""

import asyncio
import sys
from collections import Counter
from copy import deepcopy
from typing import Any

import pytest

from agent_core.engine.ledger import OUTCOME_UNKNOWN
from tests.harness.rig import ROOT
from tests.harness.torture import Findings, judge


@pytest.mark.timeout(110)
@pytest.mark.parametrize(("messenger", "cycles"), [("both", "10"), ("imessage", "6")])
async def test_p1_p2_f28_f29_kills_lose_nothing_and_double_nothing(messenger: str, cycles: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.harness.torture", "--cycles", cycles, "--messenger", messenger, cwd=ROOT,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    print(output.decode())
    assert process.returncode == 0, output.decode()


def order(status: str = "completed", **more: Any) -> dict[str, Any]:
    ack = {"status": status, "error": None if status == "completed" else OUTCOME_UNKNOWN}
    return {"command_type": "send_message", "status": status, "ack": ack, "anomalies": 0, "payload": {"send_at": 1_000}} | more


SOUND = Findings(
    orders={"done": order(), "cut": order("failed"), "late": order("failed")},
    sent=Counter({"done": 1, "cut": 1}),
    sent_utc={"done": 1_000.0, "cut": 1_001.0},
    interrupted={"cut", "late"},
    expected={"done": ["message 0", "file 0"]},
    proven={"done": ["message 0", "file 0"]},
    files=Counter({"done": 1}),
)


def test_a_sound_world_passes() -> None:
    assert not any(judge(SOUND, exact=False).values())


@pytest.mark.parametrize(
    ("name", "change", "kind"),
    [
        ("done", lambda found: found.sent.pop("done"), "lost"),
        ("done", lambda found: found.sent.update({"done": 1}), "effective twice"),
        ("cut", lambda found: found.sent.update({"cut": 1}), "effective twice"),
        ("done", lambda found: found.files.update({"done": 2}), "effective twice"),
        ("done", lambda found: found.proven.update({"done": ["message 0"]}), "completed without"),
        ("row", lambda found: found.proofs.update({"row": 2}), "rows that prove two"),
        ("done", lambda found: found.orders["done"].update(ack=None, status="delivered"), "acks missing"),
        ("done", lambda found: found.orders["done"].update(anomalies=1), "acks that differ"),
        ("late", lambda found: found.orders["late"]["ack"].update(error="OSError"), "failed, and not"),
        ("done", lambda found: found.interrupted.add("done"), "interrupted, and not"),
        ("cut", lambda found: found.interrupted.remove("cut"), "interrupted, and not"),
        ("done", lambda found: found.orders["done"].update(status="failed"), "sent, and"),
        ("done", lambda found: found.sent_utc.update({"done": 999.0}), "sent too early"),
        ("done", lambda found: found.unproven.add("done"), "acks unproven"),
        ("done", lambda found: found.audited.update({"done": "was run 2 times"}), "audit"),
    ],
)
def test_the_judge_names_what_is_wrong(name: str, change: Any, kind: str) -> None:
    found = deepcopy(SOUND)
    change(found)
    named = {title: ids for title, ids in judge(found, exact=False).items() if ids}
    assert any(title.startswith(kind) and any(name in one for one in ids) for title, ids in named.items()), named


def test_what_somebody_else_has_sent_proves_a_completed_message() -> None:
    found = deepcopy(SOUND)
    found.sent.pop("done")
    found.typed = {"done"}
    assert not any(judge(found, exact=False).values())


def test_nothing_is_interrupted_where_the_effect_is_in_the_ledger() -> None:
    assert judge(SOUND, exact=True)["interrupted in a transaction"] == ["cut", "late"]
