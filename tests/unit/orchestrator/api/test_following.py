"""Events and logs: page by page, and live over a real connection that breaks."""

from __future__ import annotations

import json
import threading
import time

import httpx
import pytest

from orchestrator.client.sse import parse
from orchestrator.records.facts import JobState
from orchestrator.store.events import Note
from tests.support.service import NOW, make_service, serving


def tell(service, job, *words):
    with service.database.transaction() as tx:
        for word in words:
            tx.events.add(job, Note(kind="note", reason=word, who="supervisor", data={"step": 3}), now=NOW)


def test_events_come_in_pages_in_order(service):
    id = service.submit()
    other = service.submit("other")
    tell(service, id, "a", "b")
    tell(service, other, "x")
    tell(service, id, "c")
    client = service.as_("vera")
    first = client.get(f"/v1/jobs/{id}/events", params={"limit": 2}).json()
    rest = client.get(f"/v1/jobs/{id}/events", params={"after": first["next"]}).json()
    assert [event["reason"] for event in first["events"] + rest["events"]] == [None, "a", "b", "c"]
    assert rest["events"][0]["step"] == 3
    assert not rest["over"]
    assert client.get(f"/v1/jobs/{id}/events", params={"after": rest["next"]}).json()["events"] == []
    service.move(id, JobState.CANCELLED)
    assert client.get(f"/v1/jobs/{id}/events", params={"after": rest["next"]}).json()["over"]


def test_logs_come_in_pieces_of_whole_lines(service):
    id = service.submit()
    text = "".join(f"line {i} ü\n" for i in range(20_000))
    service.logs.text[id] = text.encode()
    client, got, after = service.as_("vera"), "", 0
    while (piece := client.get(f"/v1/jobs/{id}/logs", params={"after": after}).json())["text"]:
        assert piece["text"].endswith("\n")
        got += piece["text"]
        after = piece["next"]
    assert got == text
    service.logs.text[id] = b"x" * 200_000  # no line ends
    assert len(client.get(f"/v1/jobs/{id}/logs").json()["text"]) == 64 * 1024


def test_whoever_follows_hears_all_and_then_that_it_is_over(service):
    id = service.submit()
    tell(service, id, "before")
    with serving(service.app) as url, follow(service, url, id) as messages:
        assert next(messages).event == "submitted"
        assert next(messages).data["reason"] == "before"
        tell(service, id, "meanwhile")
        assert next(messages).data["reason"] == "meanwhile"
        service.move(id, JobState.CANCELLED)
        assert next(messages).data["after"] == "cancelled"
        assert next(messages).event == "end"
        assert next(messages, None) is None


def test_a_follower_that_breaks_off_and_comes_back_again_and_again_loses_and_doubles_nothing(service):
    id = service.submit()
    count = 120
    heard: list[int] = []
    told = threading.Event()

    def happen():
        for i in range(count):
            tell(service, id, f"{i}")
        service.move(id, JobState.CANCELLED)
        told.set()

    with serving(service.app) as url:
        thread = threading.Thread(target=happen)
        thread.start()
        last, over, connections = 0, False, 0
        while not over:
            connections += 1
            with follow(service, url, id, last) as messages:
                for i, message in enumerate(messages):
                    if message.event == "end":
                        over = True
                        break
                    heard.append(message.id)
                    last = message.id
                    if i == connections % 7:  # in the middle of things
                        break
        thread.join()
    with service.database.reading() as tx:
        assert heard == [event.number for event in tx.events.after(0, job=id)]
    assert len(heard) == count + 2
    assert connections > 10


def test_numbers_are_the_same_after_a_restart(service, tmp_path):
    id = service.submit()
    tell(service, id, "a", "b")
    with serving(service.app) as url, follow(service, url, id) as messages:
        last = [next(messages) for _ in range(2)][-1].id
    from tests.support.service import made_again

    again = made_again(service, tmp_path)
    with serving(again.app) as url, follow(service, url, id, last) as messages:
        assert next(messages).data["reason"] == "b"


def test_a_log_can_be_followed_from_where_one_was(service):
    id = service.submit()
    service.logs.text[id] = b"one\n"
    with serving(service.app) as url:
        with follow(service, url, id, what="logs") as messages:
            message = next(messages)
            assert message.data == {"text": "one\n"}
        service.logs.text[id] += b"two\n"
        service.move(id, JobState.CANCELLED)
        with follow(service, url, id, message.id, what="logs") as messages:
            assert [(m.event, m.data) for m in messages] == [("text", {"text": "two\n"}), ("end", {})]


def test_there_are_only_so_many_followers(tmp_path):
    from orchestrator.api.config import Config

    service = make_service(tmp_path, config=Config(followers_max=1))
    id = service.submit()
    with serving(service.app) as url, follow(service, url, id) as messages:
        next(messages)
        answer = httpx.get(f"{url}/v1/jobs/{id}/events?follow=true", headers=bearer(service))
        assert answer.status_code == 429


def test_a_follower_whose_token_is_revoked_is_cut_off(service, monkeypatch):
    monkeypatch.setattr("orchestrator.api.live._ALIVE_SECONDS", 0.0)
    id = service.submit()
    with serving(service.app) as url, follow(service, url, id) as messages:
        next(messages)
        with service.database.transaction() as tx:
            (token,) = [token for token in tx.tokens.all() if token.user == "vera"]
            tx.tokens.revoke(token.id, now=time.time())
        assert next(messages, None) is None


def test_a_follower_that_says_nonsense_is_told_so(service):
    id = service.submit()
    answer = service.as_("vera").get(f"/v1/jobs/{id}/events?follow=true", headers={"Last-Event-ID": "many"})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("lines", "messages"),
    [
        (["event: a", "data: 1", "id: 7", ""], [("a", 1, 7)]),
        ([": comment", "retry: 5", ""], []),
        (["data: {", 'data: "x": 1}', ""], [("", {"x": 1}, None)]),
        (["data: 1"], []),  # cut off
        (["id: 3", "data: 1", "", "data: 2", ""], [("", 1, 3), ("", 2, None)]),
    ],
)
def test_lines_become_messages(lines, messages):
    assert [(m.event, m.data, m.id) for m in parse(lines)] == messages


def bearer(service):
    return {"Authorization": f"Bearer {service.secrets['vera']}"}


class follow:  # noqa: N801
    """A stream of events, as one connection gives it."""

    def __init__(self, service, url, job, after=0, what="events"):
        self._client = httpx.Client(timeout=30)
        headers = {**bearer(service), "Last-Event-ID": str(after), "Accept": "text/event-stream"}
        self._stream = self._client.stream("GET", f"{url}/v1/jobs/{job}/{what}", headers=headers)

    def __enter__(self):
        answer = self._stream.__enter__()
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        return parse(answer.iter_lines())

    def __exit__(self, *error):
        self._stream.__exit__(*error)
        self._client.close()


def test_what_is_sent_is_json_on_one_line(service):
    id = service.submit()
    tell(service, id, "two\nlines")
    service.move(id, JobState.CANCELLED)
    with serving(service.app) as url:
        text = httpx.get(f"{url}/v1/jobs/{id}/events?follow=true", headers=bearer(service), timeout=30).text
    data = [
        json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")
    ]
    assert data[1]["reason"] == "two\nlines"
