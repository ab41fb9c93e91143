"""The filters used so far."""


class History:
    """The filters used so far, newest last; `older` and `newer` walk, starting behind the newest."""

    def __init__(self, capacity: int = 50) -> None:
        self._kept: list[str] = []
        self._capacity = capacity
        self._at = 0

    @property
    def kept(self) -> tuple[str, ...]:
        """All of them, newest last."""
        return tuple(self._kept)

    def add(self, text: str) -> None:
        if text and text in self._kept:
            self._kept.remove(text)
        if text:
            self._kept = [*self._kept, text][-self._capacity :]
        self._at = len(self._kept)

    def older(self) -> str | None:
        """The one before, None at the oldest."""
        if self._at == 0:
            return None
        self._at -= 1
        return self._kept[self._at]

    def newer(self) -> str:
        """The one after; empty past the newest."""
        self._at = min(self._at + 1, len(self._kept))
        return self._kept[self._at] if self._at < len(self._kept) else ""
