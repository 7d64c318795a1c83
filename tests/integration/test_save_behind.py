"""Saves go on behind the training, and a store that does not take them stops nobody. Without Ray."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.checkpoints import folder_store
from tests.support.events import train_job
from tests.support.fault_proxy import Fault, fault_proxy
from tests.support.residents import ResidentCrew, Residents
from tests.support.s3 import S3Server
from workers.checkpoint.load import history, read_manifest, verify
from workers.checkpoint.policy import Retention
from workers.processes import JobFailed, launch
from workers.protocol import Event, Finished, Saved, SaveFailing, SaveSkipped, SaveWanted, StepDone, TrainJob
from workers.storage import Store

EVERY, STEPS = 10, 60
RECIPE = b"""
import time
import torch
from workers import Recipe

class Net(Recipe):
    def __init__(self, seconds=0.0):
        self.seconds = seconds

    def build_model(self):
        into, out = torch.nn.Linear(64, 512), torch.nn.Linear(512, 64)
        return torch.nn.Sequential(into, torch.nn.BatchNorm1d(512), out)

    def build_optimizer(self, model):
        return torch.optim.AdamW(model.parameters())

    def loss(self, model, batch):
        time.sleep(self.seconds / 4)
        rows = torch.randn(8, 64)
        return (model(rows) - rows).square().mean()
"""


def job(uri: str, **changes: object) -> TrainJob:
    fields = {
        "recipe": "net_recipe:Net", "sources": {"net_recipe.py": RECIPE}, "source_folder": None,
        "steps": STEPS, "checkpoint_uri": uri, "checkpoint_every": EVERY, "checkpoint_waits": True,
        "checkpoint_keep": Retention(last=100),
    }  # fmt: skip
    return train_job(**{**fields, **changes})


class Stage:
    """Processes that run one job after another."""

    def __init__(self, residents: Residents) -> None:
        self._residents = residents

    def crew(self, job: TrainJob) -> ResidentCrew:
        return self._residents.crew(job)

    def run(
        self, job: TrainJob, workers: int, look: Callable[[Event], None] = lambda event: None
    ) -> list[Event]:
        """All events of a run; `look` sees each as it comes."""
        events = []
        for event in launch(job, workers, crew=self._residents.crew(job)):
            events.append(event)
            look(event)
        return events


@contextmanager
def processes(count: int) -> Iterator[Stage]:
    residents = Residents(count)
    try:
        yield Stage(residents)
    finally:
        residents.close()


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with processes(4) as stage:
        yield stage


def digests(events: list[Event]) -> set[str | None]:
    return {event.state_digest for event in events if isinstance(event, Finished)} - {None}


@pytest.fixture(scope="module")
def calm(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str | None]]:
    """What one worker saves that nothing happens to, and its state in the end."""
    folder = tmp_path_factory.mktemp("calm")
    return folder, digests(stage.run(job(folder.as_uri()), 1))


def objects(folder: Path) -> dict[str, bytes]:
    """Chunks and manifests by name."""
    found = [path for kind in ("chunks", "manifests") for path in (folder / kind).iterdir()]
    return {path.name: path.read_bytes() for path in found}


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_any_number_of_workers_writes_the_same_bytes(tmp_path, stage, calm, workers):
    events = stage.run(job(tmp_path.as_uri()), workers)
    assert digests(events) == calm[1]
    assert objects(tmp_path) == objects(calm[0])
    assert history(folder_store(tmp_path)) == [*range(EVERY, STEPS + 1, EVERY)]


class Trouble:
    """Watches a run whose store is out of order from the start, and mends it after some more steps."""

    def __init__(self, mend: Callable[[], None], after: int = 12) -> None:
        self._mend, self._after = mend, after
        self.failing: int | None = None
        self.steps = 0

    def look(self, event: Event) -> None:
        """An event of the run."""
        if isinstance(event, SaveFailing) and self.failing is None:
            self.failing = event.step
        elif isinstance(event, StepDone) and event.worker == "worker-1" and self.failing is not None:
            self.steps += 1
            if self.steps == self._after:
                self._mend()


def assert_mended(trouble: Trouble, events: list[Event], store: Store, calm: set[str | None]) -> None:
    assert trouble.failing == EVERY
    assert trouble.steps > trouble._after, "training went on, while nothing could be saved"
    assert digests(events) == calm
    saved = history(store)
    assert EVERY in saved, "it was tried again until it was there"
    assert saved[-1] == STEPS
    for step in saved:
        assert not verify(store, read_manifest(store, step))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB, full but for its last 100 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount a small file system here: {done.stderr.strip()}")
    with (folder / "filler").open("wb", buffering=0) as file, suppress(OSError):
        file.write(bytes((4 << 20) - 100_000))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_does_not_stop_training(small_disk, stage, calm):
    trouble = Trouble((small_disk / "filler").unlink)
    patient = job(small_disk.as_uri(), checkpoint_waits=False, checkpoint_keep=Retention(last=1))
    events = stage.run(patient, 2, trouble.look)
    assert trouble.failing == EVERY
    assert trouble.steps > 12
    assert digests(events) == calm[1]
    store = folder_store(small_disk)
    assert history(store) == [STEPS]
    assert not verify(store, read_manifest(store, STEPS))


def test_a_refused_write_does_not_stop_training_and_what_is_due_meanwhile_is_skipped(tmp_path, stage, calm):
    blocked = tmp_path / "chunks"
    blocked.write_text("not a folder")
    trouble = Trouble(blocked.unlink)
    events = stage.run(job(tmp_path.as_uri(), checkpoint_waits=False), 2, trouble.look)
    assert_mended(trouble, events, folder_store(tmp_path), calm[1])
    skipped = {event.step for event in events if isinstance(event, SaveSkipped)}
    assert EVERY not in skipped
    assert skipped == {*range(EVERY, STEPS + 1, EVERY)} - {*history(folder_store(tmp_path))}
    assert skipped, "the next one was due while the first could not be written"


@pytest.mark.s3
@pytest.mark.parametrize("fault", [Fault.DENIED, Fault.CLOSE])
def test_a_bucket_that_denies_or_is_gone_does_not_stop_training(stage, s3: S3Server, monkeypatch, fault):
    expected = digests(stage.run(job("", steps=240, checkpoint_uri=None), 1))
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    with fault_proxy(s3.endpoint) as proxy:
        proxy.methods = (b"PUT", b"POST", b"HEAD", b"GET") if fault is Fault.CLOSE else (b"PUT",)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        uri, slow = f"s3://{s3.make_bucket()}/runs", {"params": {"seconds": 0.05}, "steps": 240}
        trouble = Trouble(lambda: setattr(proxy, "fault", None))

        def look(event: Event) -> None:
            if isinstance(event, StepDone) and event.step == 1:
                proxy.fault = fault
            trouble.look(event)

        with processes(2) as theirs:
            events = theirs.run(job(uri, checkpoint_waits=False, **slow), 2, look)
        assert trouble.failing == EVERY
        assert trouble.steps > trouble._after
        assert digests(events) == expected
        saved = history(Store(uri))
        assert (saved[0], saved[-1]) == (EVERY, 240)
        assert not verify(Store(uri), read_manifest(Store(uri), EVERY))


def test_an_impatient_job_takes_the_store_for_broken(tmp_path, stage):
    (tmp_path / "chunks").write_text("not a folder")
    hasty = job(tmp_path.as_uri(), checkpoint_patience=0.0, steps=10**6)
    with pytest.raises(JobFailed, match="chunks"):
        stage.run(hasty, 2)


def test_times_are_agreed_on(tmp_path, stage):
    timed = job(tmp_path.as_uri(), checkpoint_every=None, checkpoint_seconds=0.3, steps=10**6)
    saves: dict[int, set[str]] = {}

    def look(event: Event) -> None:
        if isinstance(event, Saved):
            saves.setdefault(event.step, set()).add(event.worker)
            if len(saves) == 5:
                raise Enough

    with pytest.raises(Enough):
        stage.run(timed, 3, look)
    *whole, _ = saves.values()
    assert all(len(workers) == 3 for workers in whole), "all save the same steps"


def test_a_wish_for_a_checkpoint_is_met_by_all_once(tmp_path, stage):
    wished = job(tmp_path.as_uri(), checkpoint_every=None, steps=10**6)
    crew = stage.crew(wished)
    saves: dict[int, set[str]] = {}
    steps = 0
    for event in launch(wished, 3, crew=crew):
        if isinstance(event, StepDone) and event.worker == "worker-1":
            steps += 1
            if steps == 10:
                for worker in ("worker-1", "worker-2"):  # the news has not come to everybody yet
                    crew.tell(worker, SaveWanted(step=event.step))
            if steps == 60:
                crew.tell("worker-0", SaveWanted(step=min(saves) - 1))  # late, and met already
            if steps == 120:
                break
        elif isinstance(event, Saved):
            saves.setdefault(event.step, set()).add(event.worker)
    assert [len(workers) for workers in saves.values()] == [3]


class Enough(Exception):
    """What was to be seen was seen."""
