"""Which signals ask the process for its end."""

import signal

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def heeded(number: signal.Signals) -> bool:
    """One that was ignored when the process began stays so, as `nohup` asks for SIGHUP; SIGTERM is always heeded."""
    return number is signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN
