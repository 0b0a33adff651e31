"""Memory that is freed stays while it is wanted, and goes back afterwards."""

import json
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told")

BLOCKS = """
import json, resource
import numpy as np
from smoothscore.allocator import reuse_freed_memory

def faults(rounds=20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        blocks = [np.ones(size << 20, dtype=np.uint8) for size in (48, 3, 40)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20

found = {"usual": faults()}
with reuse_freed_memory():
    faults(2)
    found["inside"] = faults()
    with reuse_freed_memory():
        pass
    found["after another has ended inside"] = faults()
    found["most"] = resident()
found["left"] = resident()
many = lambda: [np.ones(1 << 20, dtype=np.uint8) for _ in range(8)]
many()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    many()
found["small blocks afterwards"] = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(json.dumps(found))
"""


def test_freed_memory_is_used_again_inside_and_given_back_afterwards() -> None:
    """In a process of its own, for the setting is the whole process's."""
    done = subprocess.run([sys.executable, "-c", BLOCKS], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["usual"] > 100 * 5  # the huge pages of some systems are 45 to a round
    assert found["inside"] < found["usual"] / 20
    assert found["after another has ended inside"] < found["usual"] / 20
    assert found["left"] < found["most"] - 80
    assert found["small blocks afterwards"] < 100
