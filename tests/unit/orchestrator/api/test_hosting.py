"""Where the application is listened to, and how whoever runs it gets in."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from orchestrator.api.hosting import Listening, listen, own_token, url_of
from orchestrator.store.records import Role
from tests.support.service import NOW, serving
from workers.errors import InputError

ROOT = Path(__file__).parents[4]


def test_who_runs_the_server_has_one_token_for_as_long_as_it_is_good(service, tmp_path):
    folder = tmp_path / "state"
    first = own_token(service.database, folder, "me", NOW)
    assert own_token(service.database, folder, "me", NOW) == first
    assert (folder / "token").stat().st_mode & 0o777 == 0o600
    with service.database.transaction() as tx:
        token = tx.tokens.find(first, NOW)[0]
        assert (token.user, token.role, token.queues) == ("me", Role.ADMIN, None)
        tx.tokens.revoke(token.id, now=NOW)
    second = own_token(service.database, folder, "me", NOW)
    assert second != first
    assert service.audit()[0][:2] == ("me", "token")


def test_a_token_that_others_can_read_is_not_used(service, tmp_path):
    own_token(service.database, tmp_path, "me", NOW)
    (tmp_path / "token").chmod(0o644)
    with pytest.raises(InputError, match="others can read"):
        own_token(service.database, tmp_path, "me", NOW)


def test_a_port_that_is_taken_is_an_error_in_words(service):
    with serving(service.app) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(InputError, match="in use"):
            listen(Listening(port=port))
    with pytest.raises(InputError, match="cannot be listened at"):
        listen(Listening(host="192.0.2.1"))


def test_its_address_is_one_that_this_machine_can_call():
    with listen(Listening(host="0.0.0.0")) as listener:
        assert url_of(Listening(host="0.0.0.0"), listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"
    if socket.has_ipv6:
        with listen(Listening(host="::1")) as listener:
            assert url_of(Listening(host="::1"), listener).startswith("http://[::1]:")


def test_nobody_can_say_that_they_come_from_elsewhere(service):
    with serving(service.app) as url:
        httpx.get(f"{url}/v1/jobs", headers={"X-Forwarded-For": "8.8.8.8"})
    with service.database.reading() as tx:
        assert tx.audit.page()[0].address == "127.0.0.1"


def test_it_does_not_say_what_it_is_made_of(service):
    with serving(service.app) as url:
        assert "server" not in httpx.get(f"{url}/healthz").headers


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_ends_in_order(tmp_path, number):
    """A process of its own: it takes leave of followers, and what comes after it in the program is done."""
    code = """
import sys
from pathlib import Path
from orchestrator.api import hosting
from orchestrator.api.hosting import Listening, host, listen, url_of
from tests.support.service import make_service
hosting._STOP_SECONDS = 1
service, where = make_service(Path(sys.argv[1])), Listening()
listener, job = listen(where), service.submit()
path = f"{url_of(where, listener)}/v1/jobs/{job}/events?follow=true"
host(service.app, where, listener, lambda: print(path, service.secrets["vera"], flush=True))
print("after", flush=True)
"""
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        path, token = process.stdout.readline().split()
        with httpx.stream("GET", path, headers={"Authorization": f"Bearer {token}"}, timeout=30) as answer:
            lines = answer.iter_lines()
            assert any(line.startswith("event: submitted") for line in lines)
            process.send_signal(number)
            assert process.stdout.read() == "after\n"
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
