"""What is on the disk is what the store has, room is kept to, and what goes wrong there stops nobody."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from workers.data.cache import NodeCache, node_cache
from workers.data.fetch import Fetched
from workers.errors import InputError

SET, OTHER = "a" * 64, "b" * 64
LIMIT = 1 << 20


def bytes_of(number: int, size: int = 1000) -> bytes:
    return bytes([number % 256]) * size


class Origin:
    """A store that counts what is fetched from it."""

    def __init__(self) -> None:
        self.fetched: list[int] = []

    def fetch(self, number: int, size: int = 1000) -> Callable[[], Fetched]:
        def now() -> Fetched:
            self.fetched.append(number)
            return Fetched(data=pa.py_buffer(bytes_of(number, size)))

        return now


def fits(number: int, size: int = 1000) -> Callable[[pa.Buffer], bool]:
    return lambda data: data.to_pybytes() == bytes_of(number, size)


def read(cache: NodeCache, origin: Origin, number: int, dataset: str = SET, size: int = 1000) -> bytes:
    return cache.block(dataset, number, origin.fetch(number, size), fits(number, size)).data.to_pybytes()


@pytest.fixture
def origin() -> Origin:
    return Origin()


def test_a_block_is_fetched_once_whoever_asks(tmp_path, origin):
    for cache in (NodeCache(tmp_path, LIMIT), NodeCache(tmp_path, LIMIT)):
        for number in range(5):
            assert read(cache, origin, number) == bytes_of(number)
    assert origin.fetched == [0, 1, 2, 3, 4]


def test_data_sets_do_not_mix(tmp_path, origin):
    cache = NodeCache(tmp_path, LIMIT)
    assert read(cache, origin, 1) == bytes_of(1)
    assert read(cache, origin, 1, OTHER, size=3) == bytes_of(1, 3)
    assert origin.fetched == [1, 1]


@pytest.mark.parametrize("damage", [b"", b"short", bytes(1000)])
def test_what_was_altered_on_the_disk_is_fetched_again(tmp_path, origin, damage):
    cache = NodeCache(tmp_path, LIMIT)
    read(cache, origin, 7)
    (path,) = (tmp_path / "sets" / SET).iterdir()
    path.write_bytes(damage)
    assert read(cache, origin, 7) == bytes_of(7)
    assert read(cache, origin, 7) == bytes_of(7)
    assert origin.fetched == [7, 7]


def test_a_full_cache_keeps_what_is_there(tmp_path, origin):
    cache = NodeCache(tmp_path, 5000)
    for _ in range(2):
        for number in range(10):
            assert read(cache, origin, number) == bytes_of(number)
    assert origin.fetched == [*range(10), *range(5, 10)]
    assert sum(path.stat().st_size for path in (tmp_path / "sets" / SET).iterdir()) == 5000


def test_a_data_set_that_nobody_reads_makes_room(tmp_path, origin):
    cache = NodeCache(tmp_path, 5000)
    for number in range(5):
        read(cache, origin, number, OTHER)
    read(cache, origin, 0)
    assert not (tmp_path / "sets" / SET).exists(), "the other one was read just now"
    hour_ago = time.time() - 3600
    os.utime(tmp_path / "sets" / OTHER, (hour_ago, hour_ago))
    read(cache, origin, 0)
    assert not (tmp_path / "sets" / OTHER).exists()
    assert len(list((tmp_path / "sets" / SET).iterdir())) == 1


def test_what_a_killed_process_left_is_counted_by_the_next(tmp_path, origin):
    cache = NodeCache(tmp_path, 3000)
    for number in range(3):
        read(cache, origin, number)
    (tmp_path / "sizes.json").write_text("{ not whole")
    later = NodeCache(tmp_path, 3000)
    read(later, origin, 9)
    assert len(list((tmp_path / "sets" / SET).iterdir())) == 3


def test_an_error_of_the_store_is_passed_on_and_leaves_nothing(tmp_path):
    cache = NodeCache(tmp_path, LIMIT)

    def broken() -> Fetched:
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            cache.block(SET, 0, broken, fits(0))
    assert not (tmp_path / "sets" / SET).exists()


def test_a_disk_that_is_gone_costs_fetches_and_nothing_else(tmp_path, origin):
    cache = NodeCache(tmp_path / "cache", LIMIT)
    (tmp_path / "cache").rename(tmp_path / "gone")
    for _ in range(2):
        assert read(cache, origin, 3) == bytes_of(3)
    assert origin.fetched == [3, 3]


HOLDER = """
import sys, time
from pathlib import Path
from workers.data.cache import NodeCache
def fetch():
    print("fetching", flush=True)
    time.sleep(600)
NodeCache(Path(sys.argv[1]), 1 << 20).block("a" * 64, 0, fetch, lambda data: True)
"""


def test_whoever_is_killed_in_a_fetch_leaves_no_lock(tmp_path, origin):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "fetching\n"
        holder.send_signal(signal.SIGKILL)
        assert read(NodeCache(tmp_path, LIMIT), origin, 0) == bytes_of(0)
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_who_asks_a_second_time_waits_for_nobody_and_what_is_there_counts_once(tmp_path, origin):
    cache = NodeCache(tmp_path, LIMIT)

    def slow() -> Fetched:
        again = cache.block(SET, 0, origin.fetch(0), fits(0), alone=False)
        assert again.data.to_pybytes() == bytes_of(0)
        return again

    assert cache.block(SET, 0, slow, fits(0)).data.to_pybytes() == bytes_of(0)
    assert json.loads((tmp_path / "sizes.json").read_text()) == {SET: 1000}
    assert len(list((tmp_path / "sets" / SET).iterdir())) == 1
    assert origin.fetched == [0]


RACER = """
import sys
from pathlib import Path
import pyarrow as pa
from workers.data.cache import NodeCache
from workers.data.fetch import Fetched
cache, count = NodeCache(Path(sys.argv[1]), 1 << 20), 0
sys.stdin.readline()
def fetch(number):
    global count
    count += 1
    return Fetched(data=pa.py_buffer(bytes([number]) * 1000))
for number in range(100):
    found = cache.block("a" * 64, number, lambda: fetch(number), lambda data: data.size == 1000)
    assert found.data.to_pybytes() == bytes([number]) * 1000
print(count)
"""


def test_only_what_is_not_on_this_machine_anyway_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCKSTEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCKSTEP_CACHE_BYTES", "1234")
    assert node_cache("file:///data") is None
    cache = node_cache("s3://bucket/set")
    assert cache is not None
    assert cache.limit_bytes == 1234
    monkeypatch.setenv("LOCKSTEP_CACHE", "off")
    assert node_cache("s3://bucket/set") is None


@pytest.mark.parametrize("limit", ["many", "-1", "1e9"])
def test_a_limit_that_is_no_number_of_bytes_is_refused(tmp_path, monkeypatch, limit):
    monkeypatch.setenv("LOCKSTEP_CACHE", str(tmp_path))
    monkeypatch.setenv("LOCKSTEP_CACHE_BYTES", limit)
    with pytest.raises(InputError, match="LOCKSTEP_CACHE_BYTES"):
        node_cache("s3://bucket/set")


def test_without_a_word_a_part_of_what_is_free_is_used(tmp_path, monkeypatch):
    monkeypatch.delenv("LOCKSTEP_CACHE", raising=False)
    monkeypatch.delenv("LOCKSTEP_CACHE_BYTES", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = node_cache("s3://bucket/set")
    assert cache is not None
    assert 0 < cache.limit_bytes < shutil.disk_usage(tmp_path).free
    assert (tmp_path / "lockstep" / "blocks" / "sets").is_dir()


def test_a_folder_that_cannot_be_used_is_no_cache(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOCKSTEP_CACHE", str(tmp_path / "file"))
    assert node_cache("s3://bucket/set") is None


def test_processes_that_race_fetch_each_block_once_between_them(tmp_path: Path):
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    counts = [int(racer.communicate(timeout=60)[0]) for racer in racers]
    assert sum(counts) == 100
