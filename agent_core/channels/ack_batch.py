"""What the answers to ack calls say: of this ack, or of the way (PROTOCOL §4). Pure: the channel makes the calls, one after the other.

A refusal is about its ack. So is a call that breaks off, or for which no path is there, where another ack is answered next. Where three
in a row are in trouble, where the agent itself is refused, or where it is asked to wait, it is no matter of these acks: the rest waits.
"""

from agent_core.events import AcksPosted, Failure, Trouble

TROUBLES_IN_A_ROW = 3
NO_ACK_CALL = Failure(Trouble.HTTP, "the backend has no call for acks", 404)


class AckBatch:
    """The answers so far."""

    def __init__(self, command_ids: tuple[str, ...]) -> None:
        self._command_ids = command_ids
        self._proven: list[str] = []
        self._refused: dict[str, str] = {}
        self._doubtful: dict[str, Failure] = {}
        self._failure: Failure | None = None
        self._in_a_row = 0

    def answered(self, command_id: str, failure: Failure | None) -> bool:
        """One call came back, with a 2xx where there is no failure. Returns whether to go on with the next."""
        if failure is None:
            self._proven.append(command_id)
        elif _is_answer(failure) and not _concerns_all(failure):
            self._refused[command_id] = _why(failure)
        else:
            self._doubtful[command_id] = failure
        is_trouble = failure is not None and (command_id in self._doubtful or (failure.status or 0) >= 500)
        self._failure = failure if is_trouble else None
        self._in_a_row = self._in_a_row + 1 if is_trouble else 0
        if not is_trouble:
            self._refused |= {one: _why(trouble) for one, trouble in self._doubtful.items()}
            self._doubtful.clear()
        return self._in_a_row < TROUBLES_IN_A_ROW and not (failure is not None and _concerns_all(failure))

    @property
    def outcome(self) -> AcksPosted:
        done = {*self._proven, *self._refused}
        failed = tuple(command_id for command_id in self._command_ids if command_id not in done)
        failure = next(reversed(self._doubtful.values()), self._failure) if failed else None
        unsupported = set(self._doubtful.values()) == {NO_ACK_CALL}
        return AcksPosted(tuple(self._proven), failed, failure, unsupported, tuple(self._refused.items()), tuple(self._doubtful))


def _concerns_all(failure: Failure) -> bool:
    return failure.status in {401, 403, 429} or failure.retry_after is not None


def _is_answer(failure: Failure) -> bool:
    """The backend has read the call and says no, or cannot; a redirection is somebody else's answer."""
    return failure.status is not None and failure.status >= 400 and failure is not NO_ACK_CALL


def _why(failure: Failure) -> str:
    return failure.detail if failure.status is None else f"HTTP {failure.status}"
