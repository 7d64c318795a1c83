"""The Python client against a real server: futures, errors, and servers that go away and come back."""

from __future__ import annotations

import threading
import time

import pytest

from orchestrator import Client
from orchestrator.client.job import exit_code
from orchestrator.client.servers import find_target
from orchestrator.records.facts import JobState
from orchestrator.sessions import ServerSession, announced_server
from orchestrator.store.events import Note
from tests.support.service import NOW, Service, made_again, make_service, serving, spec
from workers.errors import AccessError, InputError, UnreachableError

RECIPE = "class Net: ...\n"
JOB = """\
name: toy
recipe: recipe:Net
batch: {size: 8, virtual_ranks: 4}
stop: {steps: 3}
"""


@pytest.fixture
def service(tmp_path):
    made = make_service(tmp_path)
    yield made
    made.database.close()


@pytest.fixture
def job_file(tmp_path):
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "recipe.py").write_text(RECIPE)
    (folder / ".env").write_text("PASSWORD=1\n")
    path = folder / "job.yaml"
    path.write_text(JOB)
    return path


@pytest.fixture(autouse=True)
def nothing_of_ours(monkeypatch, tmp_path):
    for name in ("LOCKSTEP_SERVER", "LOCKSTEP_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))


def client(service: Service, url: str, user: str = "sam", patience: float = 20.0) -> Client:
    return Client(url, service.secrets[user], patience=patience)


def test_a_job_is_handed_in_with_its_folder_and_without_what_looks_like_a_secret(service, job_file):
    notes: list[str] = []
    with serving(service.app) as url, client(service, url) as ours:
        job = ours.submit(job_file, overrides=["batch.size=16"], notes=notes)
        assert (job.name, job.status()["state"]) == ("toy", "queued")
        assert not job.done()
        again = ours.submit(job_file, overrides=["batch.size=16", "name=other"])
    assert ".env" in notes[0]
    with service.database.reading() as tx:
        first, second = tx.jobs.get(job.id), tx.jobs.get(again.id)
        assert tx.bundles.stored(first.submission.bundle) is not None
    assert first.submission.spec["batch"]["size"] == 16
    assert first.submission.bundle == second.submission.bundle
    assert [entry[1] for entry in service.audit()] == ["submit", "submit", "bundle"]


def test_a_wrong_job_file_never_leaves_this_machine(service, job_file):
    job_file.write_text(JOB + "stpo: 3\n")
    with (
        serving(service.app) as url,
        client(service, url) as ours,
        pytest.raises(InputError, match=r"job.yaml:5"),
    ):
        ours.submit(job_file)
    assert service.audit() == []


def test_what_json_cannot_say_is_refused_before_it_is_sent(service, job_file):
    job_file.write_text(JOB + "params: {rate: 1e400}\n")
    with (
        serving(service.app) as url,
        client(service, url) as ours,
        pytest.raises(InputError, match="cannot be sent"),
    ):
        ours.submit(job_file)


def test_waiting_ends_with_the_job(service):
    with serving(service.app) as url, client(service, url) as ours:
        job = ours.hand_in(spec())
        waiting = threading.Thread(target=lambda: ended.append(job.wait()))
        ended: list[dict] = []
        waiting.start()
        service.move(job.id, JobState.STARTING, JobState.RUNNING)
        service.move(job.id, JobState.DONE, outcome={"exit_code": 0})
        waiting.join(20)
        assert ended[0]["state"] == "done"
        assert job.done()
        assert job.wait()["state"] == "done"  # once more, at once
        assert job.wait(timeout=5)["state"] == "done"


def test_waiting_can_be_limited(service):
    with serving(service.app) as url, client(service, url) as ours:
        job = ours.hand_in(spec())
        with pytest.raises(TimeoutError, match="not over after"):
            job.wait(timeout=0.05)


def test_wishes_reach_the_server(service):
    with serving(service.app) as url, client(service, url) as ours:
        job = ours.hand_in(spec())
        job.resize(4)
        assert job.status()["min_workers"] == 4
        job.resize(min_workers=1)
        job.pause()
        service.move(job.id, JobState.PAUSED)
        job.resume()
        job.save()
        job.cancel()
        assert [event["kind"] for event in job.events()][-1] == "cancel"
        assert service.loop.asked == [("save", job.id)]
        assert job.explain()["explain"] is None
        with pytest.raises(InputError, match="virtual ranks"):
            job.resize(9)


def test_metrics_are_numbers(service):
    with serving(service.app) as url, client(service, url) as ours:
        job = ours.hand_in(spec())
        assert job.metrics() == {}
        service.move(job.id, JobState.STARTING, view={"loss": "NaN", "metrics": {"accuracy": 0.5}})
        found = job.metrics()
        assert found["accuracy"] == 0.5
        assert found["loss"] != found["loss"]


def test_logs_and_lists_come_whole(service):
    with serving(service.app) as url, client(service, url) as ours:
        job = ours.hand_in(spec())
        service.logs.text[job.id] = b"hello\n" * 30_000
        assert "".join(job.logs()) == "hello\n" * 30_000
        for i in range(250):
            service.submit(f"many-{i}")
        names = [seen["job"] for seen in ours.jobs(user="sam")]
        assert names == [*(f"many-{i}" for i in reversed(range(250))), "toy"]
        assert [seen["job"] for seen in ours.jobs(limit=3)] == names[:3]
        assert list(ours.jobs(states=["done"])) == []
        assert ours.job("many-7").name == "many-7"


@pytest.mark.parametrize(
    ("user", "ask", "kind"),
    [
        ("sam", lambda ours: ours.job("nobody"), InputError),
        ("sam", lambda ours: ours.hand_in({"name": "x"}), InputError),
        ("vera", lambda ours: ours.hand_in(spec()), AccessError),
        ("sam", lambda ours: ours.wire.get("/v1/tokens"), AccessError),
        ("sam", lambda ours: ours.job("../queues"), InputError),
    ],
)
def test_what_the_server_refuses_is_an_error_of_ours_with_its_words(service, user, ask, kind):
    with serving(service.app) as url, client(service, url, user) as ours, pytest.raises(kind) as found:
        ask(ours)
    assert found.value.exit_code == 2
    assert found.value.what


def test_a_wrong_token_is_not_tried_again(service):
    with (
        serving(service.app) as url,
        Client(url, "wrong") as ours,
        pytest.raises(AccessError, match="not known"),
    ):
        ours.job("toy")
    assert len(service.audit()) == 1


def test_nobody_there_is_unreachable_after_the_patience(service):
    with serving(service.app) as url:
        pass
    with (
        client(service, url, patience=0.2) as ours,
        pytest.raises(UnreachableError, match="does not answer") as found,
    ):
        ours.job("toy")
    assert found.value.exit_code == 3


def test_a_server_that_is_started_again_meanwhile_is_waited_for(service, tmp_path):
    with serving(service.app) as url:
        ours = client(service, url)
        job = ours.hand_in(spec())
    port = int(url.rpartition(":")[2])
    asked: list[object] = []
    thread = threading.Thread(target=lambda: asked.extend([job.status(), ours.hand_in(spec("second"))]))
    thread.start()
    again = made_again(service, tmp_path)
    with serving(again.app, port) as same:
        assert same == url
        thread.join(20)
        assert asked[0]["job"] == "toy"
        assert asked[1].name == "second"
    ours.close()


def test_a_follower_hears_everything_once_through_a_restart(service, tmp_path):
    with serving(service.app) as url:
        ours = client(service, url)
        job = ours.hand_in(spec())
        heard: list[int] = []
        first = threading.Event()

        def follow():
            for event in job.events(follow=True):
                heard.append(event["number"])
                first.set()

        thread = threading.Thread(target=follow)
        thread.start()
        assert first.wait(20)
    with service.database.transaction() as tx:
        tx.events.add(job.id, Note(kind="note", reason="while nobody listened"), now=NOW)
    again = made_again(service, tmp_path)
    with serving(again.app, int(url.rpartition(":")[2])):
        again.move(job.id, JobState.CANCELLED)
        thread.join(20)
    assert not thread.is_alive()
    with service.database.reading() as tx:
        assert heard == [event.number for event in tx.events.after(0, job=job.id)]
    ours.close()


def test_the_server_of_this_user_is_found_and_found_again_elsewhere(service, tmp_path):
    import os

    def session(url: str) -> ServerSession:
        return ServerSession(url=url, token=service.secrets["sam"], pid=os.getpid())

    with serving(service.app) as url, announced_server(session(url)):
        ours = Client(patience=20)
        job = ours.hand_in(spec())
        assert find_target().url == url
        assert find_target(server=url).token == service.secrets["sam"]
    again = made_again(service, tmp_path)
    with serving(again.app) as other, announced_server(session(other)):
        assert other != url
        assert job.status()["job"] == "toy"  # by another address
    ours.close()


def test_without_a_server_nobody_is_asked():
    with pytest.raises(UnreachableError, match="runs no server"):
        Client()


@pytest.mark.parametrize(
    "url", ["http://train.example.com", "http://10.0.0.1:8750", "http://localhost.evil.com"]
)
def test_a_token_is_never_sent_in_the_clear_over_a_network(url):
    with pytest.raises(InputError, match="in the clear"):
        Client(url, "secret")


@pytest.mark.parametrize("url", ["train.example.com", "ftp://x", "https://", "file:///etc"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(InputError, match="no address"):
        Client(url, "secret")


def test_the_environment_names_a_server(monkeypatch):
    monkeypatch.setenv("LOCKSTEP_SERVER", "https://train.example.com/")
    with pytest.raises(AccessError, match="no token"):
        find_target()
    monkeypatch.setenv("LOCKSTEP_TOKEN", "secret")
    target = find_target()
    assert (target.url, target.token) == ("https://train.example.com", "secret")
    assert find_target("https://other.example.com").url == "https://other.example.com"


def test_importing_the_orchestrator_stays_cheap():
    import subprocess
    import sys

    code = "import sys, orchestrator; print(sorted({'httpx', 'pydantic', 'fastapi'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ({"state": "done", "outcome": None}, 0),
        ({"state": "failed", "outcome": {"exit_code": 2}}, 2),
        ({"state": "failed", "outcome": None}, 1),
        ({"state": "cancelled", "outcome": {}}, 1),
        ({"state": "failed", "outcome": {"exit_code": 0}}, 1),
    ],
)
def test_how_a_job_ended_is_an_exit_code(status, code):
    assert exit_code(status) == code


def test_time_is_not_wasted_by_a_stream_that_ends(service):
    with serving(service.app) as url, client(service, url) as ours:
        job = ours.hand_in(spec())
        service.move(job.id, JobState.CANCELLED)
        began = time.monotonic()
        assert len(list(job.events(follow=True))) == 2
        assert time.monotonic() - began < 5
