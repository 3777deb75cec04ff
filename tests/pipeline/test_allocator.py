"""Buffers of images are used again instead of being given back to the kernel."""

import ctypes
import subprocess
import sys

import pytest

_WORK = """
import resource, sys, numpy
from pipeline.allocator import keep_image_buffers
if sys.argv[1] == "kept":
    keep_image_buffers()
for _ in range(50):
    buffers = [numpy.ones(200_000, numpy.float32) for _ in range(4)]
    del buffers
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", _WORK, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library's malloc is not glibc's")
def test_pages_of_buffers_are_not_cleared_again_and_again() -> None:
    assert faults("kept") < faults("left") - 10_000
