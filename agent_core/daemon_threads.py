"""Threads for calls that may hang, as a name lookup does (P12)."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from threading import Lock, Semaphore, Thread
from typing import Any, ParamSpec, TypeVar

MAX_THREADS = 4

P = ParamSpec("P")
T = TypeVar("T")


class DaemonThreads(ThreadPoolExecutor):
    """An executor that the interpreter does not wait for at its end; a call that finds every thread busy waits for its turn.

    A ThreadPoolExecutor in name only, since asyncio takes no other as a loop's default.
    """

    def __init__(self, most: int = MAX_THREADS) -> None:
        super().__init__(most)
        self._most = most
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._idle = Semaphore(0)
        self._started = 0
        self._starting = Lock()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        self._calls.put((future, partial(fn, *args, **kwargs)))
        with self._starting:
            if not self._idle.acquire(blocking=False) and self._started < self._most:
                self._started += 1
                Thread(target=self._work, name=f"daemon-{self._started}", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing: what hangs is left behind."""

    def _work(self) -> None:
        while True:
            future, call = self._calls.get()
            if future.set_running_or_notify_cancel():
                try:
                    result = call()
                except BaseException as error:  # noqa: BLE001  (it is the caller's)
                    future.set_exception(error)
                else:
                    future.set_result(result)
                    del result
            del future, call
            self._idle.release()


DAEMON_THREADS = DaemonThreads()
