"""Figures with their unit, which changes before the figure grows."""


def took(seconds: float | None) -> str:
    """`0.4 ms`, `18 ms`, `11.2 s`, `20m 04s`, `11h 56m`, `2d 23h`; `–` where it is not known."""
    if seconds is None:
        return "–"
    if seconds >= 59.95:
        return long(seconds)
    if seconds >= 0.9995:
        return f"{seconds:.1f} s"
    return f"{seconds * 1_000:.0f} ms" if seconds >= 0.00095 else f"{seconds * 1_000:.1f} ms"


def long(seconds: float) -> str:
    """A minute and more, in at most seven cells: `20m 04s`, `11h 56m`, `2d 23h`, `1204d`."""
    whole = min(int(seconds + 0.5), 99_999 * 86_400)
    days, hours, minutes, rest = whole // 86_400, whole // 3_600 % 24, whole // 60 % 60, whole % 60
    if days:
        return f"{days}d {hours:02d}h" if days < 100 else f"{days}d"
    return f"{hours}h {minutes:02d}m" if hours else f"{minutes}m {rest:02d}s"


def size(count: float) -> str:
    """`812 bytes`, `9.5 KiB`, `64 MiB`, `1.2 GiB`."""
    if count < 1_000:
        return f"{count:.0f} bytes"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1_024
        if count < 1_000:
            return f"{count:.{1 if count < 9.95 else 0}f} {unit}"
    return f"{count / 1_024:.1f} TiB"
