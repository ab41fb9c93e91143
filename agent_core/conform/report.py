"""What the judge found, for people, machines and CI."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as Xml

from agent_core.conform.judge import Result, Verdict

GLYPHS = {Result.PASS: "✓", Result.FAIL: "✗", Result.NOT_TESTABLE: "–"}
UNPRINTABLE = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 65534, 65535), "?")
"""What XML cannot hold."""


def lines(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """A line a clause, and below one that fails what was said; then the sum."""
    for verdict in verdicts:
        yield f"{GLYPHS[verdict.result]} {verdict.clause.id:<4} {verdict.sentence}"
        if verdict.result is Result.FAIL:
            yield f"       PROTOCOL {verdict.clause.section}: {verdict.clause.says}"
            yield from (f"         {line}" for line in verdict.exchange)
    yield summary(verdicts)


def summary(verdicts: Sequence[Verdict]) -> str:
    counts = Counter(verdict.result for verdict in verdicts)
    return ", ".join(f"{counts[result]} {result}" for result in Result)


def as_json(verdicts: Sequence[Verdict]) -> str:
    body = [
        {
            "id": verdict.clause.id, "section": verdict.clause.section, "clause": verdict.clause.says, "result": verdict.result,
            "sentence": verdict.sentence, "exchange": verdict.exchange,
        }
        for verdict in verdicts
    ]  # fmt: skip
    return json.dumps(body, ensure_ascii=False, indent=1)


def as_junit(verdicts: Sequence[Verdict]) -> str:
    counts = Counter(verdict.result for verdict in verdicts)
    attributes = {"name": "PROTOCOL", "tests": len(verdicts), "failures": counts[Result.FAIL], "skipped": counts[Result.NOT_TESTABLE]}
    suite = Xml.Element("testsuite", {key: str(value) for key, value in attributes.items()})
    for verdict in verdicts:
        case = Xml.SubElement(suite, "testcase", {"classname": f"PROTOCOL {verdict.clause.section}", "name": verdict.clause.id})
        if verdict.result is Result.FAIL:
            failure = Xml.SubElement(case, "failure", {"message": verdict.sentence.translate(UNPRINTABLE)})
            failure.text = "\n".join(verdict.exchange).translate(UNPRINTABLE)
        elif verdict.result is Result.NOT_TESTABLE:
            Xml.SubElement(case, "skipped", {"message": verdict.sentence.translate(UNPRINTABLE)})
    return Xml.tostring(suite, encoding="unicode", xml_declaration=True)
