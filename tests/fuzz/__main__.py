"""`make fuzz MINUTES=10`: every test of this folder with cases of its own making for its share of that time, and how many there were.

A test here is a function with `@given` and no fixtures. `make test` runs each for the same hundred cases; what fails here is kept there as
an `@example`.
"""

import argparse
import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, is_hypothesis_test, settings

ROUND = 200
"""Cases between two looks at the clock."""


def tests() -> dict[str, Callable[[], None]]:
    """The tests by name; imported under the profile that is loaded."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("test_*.py"))
    modules = [importlib.import_module(f"tests.fuzz.{name}") for name in names]
    found = [
        test for module in modules for test in vars(module).values() if is_hypothesis_test(test) and test.__module__ == module.__name__
    ]
    return {test.__name__: test for test in found}


def run(test: Any, seconds: float) -> tuple[int, BaseException | None]:
    """How many cases there were in so many seconds, and what the first bad one raised."""
    cases = 0
    inner = test.hypothesis.inner_test

    def counted(*values: Any, **named: Any) -> None:
        nonlocal cases
        cases += 1
        inner(*values, **named)

    test.hypothesis.inner_test = counted
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            test()
    except BaseException as error:  # noqa: BLE001  (told, and the next test has its turn)
        return cases, error
    finally:
        test.hypothesis.inner_test = inner
    return cases, None


def main() -> int:
    """1 where a case failed."""
    parser = argparse.ArgumentParser(prog="make fuzz", description="Fuzz for a while.")
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    settings.register_profile(
        "fuzz", max_examples=ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=True
    )
    settings.load_profile("fuzz")
    found, failed = tests(), 0
    for name, test in found.items():
        cases, error = run(test, options.minutes * 60 / len(found))
        failed += error is not None
        print(f"{'FAILED' if error else 'ok':<7}{cases:>9,} cases  {name}", flush=True)
        if error is not None:
            print("\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())]), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
