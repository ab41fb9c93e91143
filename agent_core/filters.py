"""The commands' filter language: `type:send status:failed via:poll >250ms !cmd_1 /regex/ text`; every term must hold, `!` inverts one.

A filter is compiled against what rows share (type, way, status, error …), so that most rows cost one look into a dictionary.
"""

import difflib
import re
from collections.abc import Callable, Iterable
from itertools import takewhile
from typing import NamedTuple

STATUSES = (
    "queued", "running", "scheduled", "held", "outbox", "sent", "acked", "failed", "duplicate", "cancelled", "interrupted", "refused",
    "received",
)  # fmt: skip
WAYS = ("ws", "poll", "local", "in")
EFFECTS = ("harmless", "transactional", "external")
BAD = frozenset({"failed", "refused", "interrupted"})
MOST_CHARACTERS = 200
SEARCHED = 1_000
"""Characters of a field that a term looks at."""
MATCH_WITHIN = 0.05
"""Seconds that a pattern may take over one text."""

Texts = tuple[str, str, str, str, str | None, str | None, str | None]
"""What rows share: type, via, status, effect, thread, error, replay of."""


class Own(NamedTuple):
    """What a row has for itself: its id in small letters, its milliseconds, its instant, its number."""

    id: str
    ms: float | None
    utc: float | None
    number: int | None


Judge = Callable[[Own], bool]
Rest = tuple[tuple[Judge, bool], ...]


class Ask(NamedTuple):
    """A question that only the ledger can answer: which commands have this text, this anywhere in the payload, this priority."""

    field: str
    value: str


PRIORITIES = ("immediate", "high", "normal", "low", "deferred")
ASKED = {"text": (), "payload": (), "priority": PRIORITIES}
_AGES = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_AGE = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)([smhd])")
_UNITS = {"ms": 1.0, "": 1.0, "s": 1_000.0, "m": 60_000.0}
_TIME = re.compile(r"([<>])(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|)")
_TOKEN = re.compile(r'!?(?:/(?:[^/\\]|\\.)*/|/.*|[a-z]+:"[^"]*"?|"[^"]*"?|\S+)|!', re.IGNORECASE)


class FilterError(ValueError):
    """What is wrong with a filter, in a few words."""


class Condition(NamedTuple):
    """A term in words: a field (`word`: any of the texts; `>`, `<`: milliseconds; `pattern`), and the values of which one has to hold."""

    field: str
    values: tuple[str | float, ...]


class Term(NamedTuple):
    """One condition. `shared` decides by what rows share; where it cannot, `own` decides by the row's own id and time."""

    condition: Condition
    shared: Callable[[Texts], bool] | None
    own: Judge | None
    negated: bool = False


class Filter:
    """A compiled filter."""

    def __init__(self, text: str, terms: tuple[Term, ...], asked: "dict[Ask, set[int]]", utc: float) -> None:
        self.text = text
        self.asked = asked
        """What only the ledger knows: the numbers of the commands in which it has found it, added to as it answers."""
        self.utc = utc
        """When it was typed: what `since:` counts from."""
        self.terms = terms
        self._known: dict[Texts, Rest | None] = {}

    def __bool__(self) -> bool:
        return bool(self.terms)

    def only(self, terms: Iterable[Term]) -> "Filter":
        """The filter of these of its terms."""
        return Filter(self.text, tuple(terms), self.asked, self.utc)

    def holds(self, texts: Texts, command_id: str, milliseconds: float | None, utc: float | None = None, number: int | None = None) -> bool:
        """Whether the row passes; `milliseconds` to its ack, else of its run. Raises FilterError where it asks for more than is told."""
        rest = self.rest(texts)
        if not rest:
            return rest is not None
        own = Own(command_id[:SEARCHED].lower(), milliseconds, utc, number)
        return all(judge(own) is not negated for judge, negated in rest)

    def rest(self, texts: Texts) -> "Rest | None":
        """What is left to judge of a row with these texts; None: it does not pass, whatever its id and time."""
        try:
            return self._known[texts]
        except KeyError:
            if len(self._known) > 2_000:
                self._known.clear()
            self._known[texts] = found = self._rest(texts)
            return found

    def _rest(self, texts: Texts) -> "Rest | None":
        rest: list[tuple[Judge, bool]] = []
        for term in self.terms:
            held = term.shared is not None and term.shared(texts)
            if held and term.negated:
                return None
            if not held and term.own is not None:
                rest.append((term.own, term.negated))
            elif not held and not term.negated:
                return None
        return tuple(rest)


FAILURES = Term(Condition("status", tuple(sorted(BAD))), lambda texts: texts[2] in BAD, None)


def parse(text: str, *, utc: float = 0.0, failures_only: bool = False, asked: "dict[Ask, set[int]] | None" = None) -> Filter:
    """The filter that `text` describes at that instant; an empty one lets everything pass. Raises `FilterError`.

    `asked`: the answers that another one of the same words has had already.
    """
    if len(text) > MOST_CHARACTERS:
        raise FilterError(f"a filter has at most {MOST_CHARACTERS} characters")
    terms = [FAILURES] if failures_only else []
    asked = {} if asked is None else asked
    for token in _TOKEN.findall(text):
        negated = token.startswith("!")
        bare = token[1:] if negated else token
        if not bare:
            raise FilterError("! wants something after it")
        terms.append(_term(bare, utc, asked)._replace(negated=negated))
    return Filter(text.strip(), tuple(terms), asked, utc)


def trouble_in(text: str) -> str:
    """What is wrong with it as a filter; empty where nothing is."""
    try:
        parse(text)
    except FilterError as error:
        return str(error)
    return ""


def completed(text: str) -> str:
    """`text` with its last word completed: a field's name, or one of the values that it knows, as far as there is only one way on."""
    start = text.rfind(" ") + 1
    word = text[start:].removeprefix("!")
    head = text[: len(text) - len(word)]
    name, colon, value = word.partition(":")
    if not colon:
        return head + _longest([f"{field}:" for field in NAMES], word)
    *chosen, last = value.split(",")
    known = ASKED.get(name.lower(), ()) or _FIELDS.get(name.lower(), (0, ()))[1]
    return head + f"{name}:" + ",".join([*chosen, _longest(known, last)])


def _longest(words: Iterable[str], begun: str) -> str:
    """What all the words that begin so have in common."""
    found = [word for word in words if word.startswith(begun.lower())]
    if not found:
        return begun
    shared = takewhile(lambda pair: pair[0] == pair[1], zip(min(found), max(found), strict=False))
    return "".join(char for char, _ in shared)


def _term(token: str, utc: float, asked: "dict[Ask, set[int]]") -> Term:
    if token.startswith("/"):
        return _pattern_term(token)
    if token[0] in "<>":
        return _time_term(token)
    name, colon, value = token.partition(":")
    if colon and name.lower() == "since":
        return _since_term(value, utc)
    if colon and name.lower() in ASKED:
        return _asked_term(name.lower(), _unquoted(value), asked)
    if colon and name.lower() in _FIELDS:
        return _field_term(name.lower(), _unquoted(value))
    if colon and name.isalpha():
        near = difflib.get_close_matches(name.lower(), NAMES, 1)
        raise FilterError(f"no field {name}: {'did you mean ' + near[0] + '?' if near else ', '.join(NAMES)}")
    needle = _unquoted(token).lower()
    condition = Condition("word", (needle,))
    return Term(condition, lambda texts: any(needle in part[:SEARCHED].lower() for part in texts if part), lambda own: needle in own.id)


def _unquoted(value: str) -> str:
    return value[1:].removesuffix('"') if value.startswith('"') else value


def _field_term(name: str, value: str) -> Term:
    needles = tuple(part.lower() for part in value.split(",") if part)
    if not needles:
        raise FilterError(f"{name}: wants a value")
    condition = Condition(name, needles)
    if name == "id":
        return Term(condition, None, lambda own: any(needle in own.id for needle in needles))
    column, known = _FIELDS[name]
    if known:
        return _word_term(name, column, known, needles)
    return Term(condition, lambda texts: any(needle in (texts[column] or "")[:SEARCHED].lower() for needle in needles), None)


def _word_term(name: str, column: int, known: tuple[str, ...], needles: tuple[str, ...]) -> Term:
    """A field with few values: each needle is the beginning of one."""
    meant: set[str] = set()
    for needle in needles:
        begun = {word for word in known if word.startswith(needle)}
        if not begun:
            near = difflib.get_close_matches(needle, known, 1)
            raise FilterError(f"no {name} {needle}: {'did you mean ' + near[0] + '?' if near else ', '.join(known)}")
        meant |= begun
    return Term(Condition(name, tuple(sorted(meant))), lambda texts: texts[column] in meant, None)


def _time_term(token: str) -> Term:
    match = _TIME.fullmatch(token.lower())
    if match is None:
        raise FilterError(f"{token[0]} wants a time, as {token[0]}250ms or {token[0]}2s")
    limit = float(match[2]) * _UNITS[match[3]]
    condition = Condition(match[1], (limit,))
    if match[1] == ">":
        return Term(condition, None, lambda own: own.ms is not None and own.ms > limit)
    return Term(condition, None, lambda own: own.ms is not None and own.ms < limit)


def _since_term(value: str, utc: float) -> Term:
    match = _AGE.fullmatch(value.lower())
    if match is None:
        raise FilterError("since: wants a time, as since:10m, since:2h or since:3d")
    oldest = utc - float(match[1]) * _AGES[match[2]]

    def young(own: Own) -> bool:
        if own.utc is None:
            raise FilterError("since: is for the stream")
        return own.utc >= oldest

    return Term(Condition("since", (oldest,)), None, young)


def _asked_term(name: str, value: str, asked: "dict[Ask, set[int]]") -> Term:
    if not value:
        raise FilterError(f"{name}: wants a value")
    if name == "priority":
        value = _one_of(name, PRIORITIES, value.lower())
    numbers = asked.setdefault(Ask(name, value), set())

    def found(own: Own) -> bool:
        if own.number is None:
            raise FilterError(f"{name}: is for the stream")
        return own.number in numbers

    return Term(Condition(name, (value,)), None, found)


def _one_of(name: str, known: tuple[str, ...], needle: str) -> str:
    begun = [word for word in known if word.startswith(needle)]
    if len(begun) != 1:
        raise FilterError(f"no {name} {needle}: {', '.join(begun or known)}")
    return begun[0]


def _pattern_term(token: str) -> Term:
    if len(token) < 2 or not token.endswith("/"):
        raise FilterError("a pattern ends with /")
    source = token[1:-1].replace("\\/", "/")
    if not source:
        raise FilterError("an empty pattern")
    import regex

    try:
        compiled = regex.compile(source, regex.IGNORECASE)
    except (regex.error, OverflowError, RecursionError) as error:
        raise FilterError(f"pattern: {error}") from None

    def found(text: str) -> bool:
        try:
            return compiled.search(text[:SEARCHED], timeout=MATCH_WITHIN) is not None
        except TimeoutError:
            raise FilterError("this pattern takes too long") from None

    return Term(Condition("pattern", (source,)), lambda texts: any(found(part) for part in texts if part), lambda own: found(own.id))


_FIELDS: dict[str, tuple[int, tuple[str, ...]]] = {
    "type": (0, ()), "via": (1, WAYS), "status": (2, STATUSES), "effect": (3, EFFECTS), "thread": (4, ()), "error": (5, ()),
    "replay": (6, ()), "id": (-1, ()),
}  # fmt: skip
NAMES = (*_FIELDS, *ASKED, "since")
LANGUAGE = (
    ("word", "in the id, type, way, status, thread, error"),
    ('"two words"', 'as they stand; also behind a field: error:"not found"'),
    ("!word", "turned around, as !status:acked; every term must hold"),
    ("type: status: via:", "a beginning or one of several: status:fai,int via:poll"),
    ("thread: error: id:", "a part of it; also effect: and replay:"),
    ("text:hello", "in what the message says (asked of the ledger)"),
    ("payload:x priority:high", "anywhere in the payload; the command's priority"),
    (">250ms  <2s", "slower, faster to the ack than that"),
    ("since:10m", "not older than that: s, m, h, d"),
    ("/a.*b/", "a regular expression"),
)
"""The language, for its help page."""
