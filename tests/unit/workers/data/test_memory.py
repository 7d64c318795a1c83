"""What samples were decoded into is there for the next ones."""

import subprocess
import sys

PROBE = """
import resource, sys
from workers.data.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        samples = [b"x" * 1_000_000 for _ in range(4)]
        del samples
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROBE, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_freed_memory_is_used_again_without_the_kernel():
    pages = 4 * 50 * 1_000_000 // 4096
    assert faults("kept") < pages / 100 < faults("given back")
