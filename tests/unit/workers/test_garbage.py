"""Nothing is searched for garbage at the start of a process, and later as ever."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from workers.garbage import settling


def test_nothing_is_searched_while_a_process_starts_and_what_is_there_then_never():
    try:
        with settling():
            assert not gc.isenabled()
            made = [[] for _ in range(1000)]
        assert gc.isenabled()
        assert gc.get_freeze_count() > len(made)
    finally:
        gc.unfreeze()


def test_it_is_searched_again_though_the_start_fails():
    try:
        with pytest.raises(ImportError), settling():
            raise ImportError
        assert gc.isenabled()
    finally:
        gc.unfreeze()


CODE = """
from workers import garbage
garbage.seldom()

class Thing:
    def __init__(self, name):
        self.name = name
    def __del__(self):
        print(self.name)

alone, ring = Thing("alone"), Thing("ring")
ring.itself = ring
del ring, alone
print("end")
"""


def test_a_command_drops_what_nobody_refers_to_at_once_and_does_not_search_at_its_end():
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["alone", "end"]
