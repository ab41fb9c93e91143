"""The cycle collector's thresholds, in a process of their own."""

import subprocess
import sys

OLD_CYCLES = """
import gc, weakref
from agent_core import gc_tuning

class Node:
    pass

gc.disable()
gc_tuning.tune_console()
node = Node()
node.itself, gone = node, weakref.ref(node)
gc.collect(1)
del node
for _ in range(400_000):
    if gone() is None:
        break
    young = Node()
    young.itself = young
print(gone() is None)
"""


def test_c16_a_cycle_that_has_grown_old_is_collected_in_time() -> None:
    ran = subprocess.run([sys.executable, "-c", OLD_CYCLES], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout == "True\n"
