"""A store that misbehaves in mid-epoch costs time and nothing else: the bits are the undisturbed run's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.support.bits_jobs import BitsJob
from tests.support.fault_proxy import Fault, FaultProxy, fault_proxy
from tests.support.s3 import S3Server
from tests.support.supervised import Seen, load, supervised
from workers.data.dataset import Dataset
from workers.data.reader import BlockReader
from workers.data.shards import write_shards

pytestmark = [pytest.mark.s3, pytest.mark.slow]

ROWS, STEPS = 2400, 60  # one epoch, and each sample is a block of its own
QUARTER = ROWS // 4
SCHEMA = pa.schema([("key", pa.string()), ("data", pa.large_binary())])


@dataclass(kw_only=True)
class Trouble:
    """Begins once so many blocks were fetched, and ends so many seconds later."""

    begin: Callable[[], None]
    after: int = QUARTER
    seconds: float = float("inf")
    end: Callable[[], None] = lambda: None
    ends_at: float | None = None

    def look(self, fetched: int) -> None:
        now = time.monotonic()
        if self.ends_at is None and fetched >= self.after:
            self.begin()
            self.ends_at = now + self.seconds
        if self.ends_at is not None and now >= self.ends_at:
            self.end()
            self.ends_at = float("inf")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A job whose data comes from S3 through a proxy, and nowhere else from."""

    s3: S3Server
    proxy: FaultProxy
    bits: BitsJob
    data: str

    def train(self, folder: Path, *troubles: Trouble) -> Seen:
        """Run the job with two workers, to its end."""

        def look() -> None:
            for trouble in troubles:
                trouble.look(self.proxy.passed - before)

        job = self.bits.copy(folder / "job")
        job.change(data={"train": {"uri": self.data}}, evaluate=None)
        job.change(stop={"epochs": 1}, checkpoint={"uri": "runs", "every": 25, "if_busy": "wait"})
        before = self.proxy.passed
        with supervised(load(job.folder, (folder / "runs").as_uri()), 2) as (supervisor, _, seen):
            supervisor.idle = look
            seen.outcome = supervisor.run()
        assert seen.outcome.done, "\n".join([*seen.story, str(seen.outcome)])
        assert seen.disagreements == []
        assert sorted(seen.steps) == [*range(1, STEPS + 1)]
        return seen


@pytest.fixture(scope="module")
def scene(s3: S3Server, bits: BitsJob) -> Iterator[Scene]:
    data = f"s3://{s3.make_bucket()}/train"
    values = np.random.default_rng(3).standard_normal((ROWS, 16)).astype("<f4")
    records = [{"key": f"{n:04d}-{n % 4}", "data": row.tobytes()} for n, row in enumerate(values)]
    with pytest.MonkeyPatch.context() as patch, fault_proxy(s3.endpoint) as proxy:
        for name, value in s3.environment().items():
            patch.setenv(name, value)
        assert len(write_shards(records, SCHEMA, data, block_bytes=1)) == ROWS
        patch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        patch.setenv("LOCKSTEP_CACHE", "off")
        yield Scene(s3=s3, proxy=proxy, bits=bits, data=data)


@pytest.fixture(scope="module")
def calm(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """What happens when nothing happens."""
    seen = scene.train(tmp_path_factory.mktemp("calm"))
    assert not scene.proxy.harmed
    assert scene.proxy.passed > ROWS
    return seen


@pytest.fixture(autouse=True)
def well_again(scene: Scene, calm: Seen) -> Iterator[None]:
    scene.proxy.harmed.clear()
    yield
    scene.proxy.fault, scene.proxy.every, scene.proxy.bytes_per_second = None, 1, None


def assert_same(seen: Seen, calm: Seen) -> None:
    assert seen.digest == calm.digest
    assert seen.steps == calm.steps


def harm(
    proxy: FaultProxy, fault: Fault, *, after: int = QUARTER, every: int = 1, seconds: float = float("inf")
) -> Trouble:
    def begin() -> None:
        proxy.fault, proxy.every = fault, every

    def end() -> None:
        proxy.fault = None

    return Trouble(begin=begin, after=after, seconds=seconds, end=end)


def test_a_store_that_answers_wrongly_or_not_at_all_for_a_while_is_asked_again(
    scene: Scene, calm: Seen, tmp_path: Path
) -> None:
    """One way after the other, each while all requests meet it."""
    faults = (Fault.BUSY, Fault.CUT, Fault.CLOSE, Fault.STALL, Fault.SHORT)
    troubles = [
        harm(scene.proxy, fault, after=(1 + number) * ROWS // 6, seconds=3.0)
        for number, fault in enumerate(faults)
    ]
    seen = scene.train(tmp_path, *troubles)
    assert_same(seen, calm)
    assert [fault for fault in faults if not scene.proxy.harmed[fault]] == []
    assert seen.failures == []


def test_a_request_in_a_hundred_that_hangs_is_overtaken_long_before_its_deadline(
    scene: Scene, calm: Seen, tmp_path: Path
) -> None:
    seen = scene.train(tmp_path, harm(scene.proxy, Fault.STALL, every=100))
    assert_same(seen, calm)
    assert scene.proxy.harmed[Fault.STALL] > 10
    print(f"longest step {seen.longest_seconds:.2f} s, undisturbed {calm.longest_seconds:.2f} s")
    assert seen.longest_seconds < 5


def test_a_server_that_is_frozen_for_15_seconds_and_then_slow_costs_that(
    scene: Scene, calm: Seen, tmp_path: Path
) -> None:
    """Slow is a twentieth of its speed."""
    dataset, gateway = Dataset.open(scene.data), scene.s3.gateway
    begin = time.monotonic()
    BlockReader(dataset).gather(np.arange(ROWS), np.zeros(ROWS, dtype=np.int64))
    usual = dataset.manifest.bytes / (time.monotonic() - begin)

    def slow() -> None:
        scene.proxy.bytes_per_second = usual / 20

    frozen = Trouble(begin=gateway.freeze, seconds=15, end=gateway.thaw)
    try:
        seen = scene.train(tmp_path, frozen, Trouble(begin=slow, after=3 * QUARTER))
    finally:
        gateway.thaw()
    assert_same(seen, calm)
    assert seen.failures == []
    assert scene.proxy.waited_seconds > 1


def test_a_server_that_is_gone_for_30_seconds_delays_the_job_and_loses_nothing(
    scene: Scene, calm: Seen, tmp_path: Path
) -> None:
    gateway = scene.s3.gateway
    try:
        seen = scene.train(tmp_path, Trouble(begin=gateway.kill, seconds=30, end=gateway.start))
    finally:
        gateway.start()
    assert_same(seen, calm)
    assert seen.failures == []
