"""What is refused before anything else of a request is believed, and that it is noted."""

from __future__ import annotations

from http.client import HTTPConnection

import pytest
from fastapi.testclient import TestClient

from orchestrator.api.config import Config
from orchestrator.store.records import Role
from tests.support.service import Service, make_service, serving, spec


def refusal(service: Service) -> tuple[str, str, str, bool, str]:
    return service.audit()[0]


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (None, "there is no token"),
        ("Bearer", "this is no token"),
        ("Basic YWRhOmFkYQ==", "this is no token"),
        ("Bearer " + "x" * 300, "this is no token"),
        ("Bearer not-a-token-of-ours", "the token is unknown"),
    ],
)
def test_without_a_good_token_there_is_no_answer(service, header, why):
    headers = {} if header is None else {"Authorization": header}
    answer = service.as_("").get("/v1/jobs", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert refusal(service) == ("", "GET", "/v1/jobs", False, f"401: {why}")


def test_an_expired_and_a_revoked_token_are_refused_and_the_log_says_whose_they_were(service):
    with service.database.transaction() as tx:
        _, expired = tx.tokens.create(user="old", role=Role.ADMIN, now=1.0, expires_at=2.0)
        token, revoked = tx.tokens.create(user="gone", role=Role.ADMIN, now=1.0)
        tx.tokens.revoke(token.id, now=2.0)
    answers = {}
    for secret, word in ((expired, "expired"), (revoked, "revoked")):
        answer = service.as_("").get("/v1/jobs", headers={"Authorization": f"Bearer {secret}"})
        answers[word] = answer.json()
        assert answer.status_code == 401
        assert word in refusal(service)[4]
    assert answers["expired"] == answers["revoked"], "the caller does not learn which"


def test_a_token_that_is_revoked_is_good_for_nothing_at_once(service):
    assert service.as_("sam").get("/v1/jobs").status_code == 200
    with service.database.reading() as tx:
        (token,) = [token for token in tx.tokens.all() if token.user == "sam"]
    assert service.as_("ada").delete(f"/v1/tokens/{token.id}").status_code == 200
    assert service.as_("sam").get("/v1/jobs").status_code == 401


@pytest.mark.parametrize("host", ["evil.example.com", "127.0.0.1.evil.com", "localhost.evil.com:80", ""])
def test_a_name_that_is_not_ours_is_refused(service, host):
    answer = service.as_("ada").get("/v1/jobs", headers={"Host": host})
    assert answer.status_code == 421
    assert refusal(service)[3:] == (False, "421: this service is not called so")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.com"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_pages_of_other_sites_are_refused_whatever_they_do(service, method, headers):
    answer = service.as_("ada").request(method, "/v1/jobs", headers=headers)
    assert answer.status_code == 403
    assert refusal(service)[3] is False
    assert "access-control-allow-origin" not in answer.headers


def test_a_page_of_our_own_may_ask(service):
    headers = {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"}
    assert service.as_("ada").get("/v1/jobs", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v1/jobs/..%2f..%2fetc%2fpasswd",
        "/v1/jobs/%2e%2e/x",
        "/v1/bundles/..%5cx",
        "/v1//jobs",
        "/v1/jobs/a%00b",
        "/v1/jobs/a/../../queues",
        "/v1/queues/red%2Fblue",
    ],
)
def test_paths_that_hope_to_leave_are_refused_and_noted(service, path):
    with serving(service.app) as url:
        connection = HTTPConnection("127.0.0.1", int(url.rpartition(":")[2]))  # sends paths as they are
        connection.request("GET", path, headers={"Authorization": f"Bearer {service.secrets['ada']}"})
        assert connection.getresponse().status == 400
        connection.close()
    assert refusal(service)[4] == "400: no path is written like this"


@pytest.mark.parametrize(
    "path", ["/v1/jobs/UPPER", "/v1/jobs/a b", "/v1/jobs/-x", f"/v1/jobs/{'a' * 64}", "/v1/tokens/x.y"]
)
def test_names_that_name_nothing_are_refused_and_noted(service, path):
    method = "DELETE" if "tokens" in path else "GET"
    answer = service.as_("ada").request(method, path)
    assert answer.status_code == 422
    assert refusal(service)[3:] == (False, "422: a path that names nothing")


def test_a_body_that_says_that_it_is_too_long_is_not_read(tmp_path):
    service = make_service(tmp_path, config=Config(body_bytes_max=1000))
    read = []

    def body():
        read.append(1)
        yield b"x"

    headers = {"Content-Length": "1001", "Content-Type": "application/json"}
    answer = service.as_("sam").post("/v1/jobs", content=body(), headers=headers)
    assert answer.status_code == 413
    assert answer.json()["error"]["what"] == "more than 1,000 bytes"
    assert refusal(service)[1:4] == ("POST", "/v1/jobs", False)


def test_a_body_that_does_not_say_so_is_cut_off(tmp_path):
    service = make_service(tmp_path, config=Config(body_bytes_max=1000))

    def body():
        for _ in range(20):
            yield b" " * 100

    answer = service.as_("sam").post("/v1/jobs", content=body(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert refusal(service)[4] == "413: more than 1,000 bytes"


def test_who_has_no_token_cannot_make_us_read_a_body(service):
    def body():
        raise AssertionError("it was read")
        yield b""

    client = service.as_("")
    scope_reads = []

    async def receive():
        scope_reads.append(1)
        return {"type": "http.request", "body": b"x", "more_body": False}

    sent = []

    async def send(message):
        sent.append(message)

    import anyio

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/jobs",
        "raw_path": b"/v1/jobs",
        "query_string": b"",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "headers": [(b"host", b"127.0.0.1"), (b"content-length", b"10")],
    }
    anyio.run(client.app, scope, receive, send)
    assert sent[0]["status"] == 401
    assert scope_reads == []


def test_what_tells_nothing_of_anybody_needs_no_token(service):
    assert service.as_("").get("/healthz").json()["status"] == "ok"
    assert service.as_("").get("/openapi.json").json()["info"]["title"] == "Lockstep"


def test_every_error_has_one_shape(service):
    client = service.as_("sam")
    answers = [
        client.get("/v1/jobs/nobody"),
        client.get("/v1/nothing"),
        client.delete("/v1/jobs"),
        client.post("/v1/jobs", json={"spec": spec(), "extra": 1}),
        client.post("/v1/jobs", content=b"{", headers={"Content-Type": "application/json"}),
        client.post("/v1/jobs", content=b"[" * 100_000, headers={"Content-Type": "application/json"}),
        client.post(
            "/v1/jobs", content=b'{"spec": {"\\ud800": 1}}', headers={"Content-Type": "application/json"}
        ),
        client.get("/v1/audit"),
    ]
    assert [answer.status_code for answer in answers] == [404, 404, 405, 422, 422, 400, 422, 403]
    for answer in answers:
        assert answer.json()["error"].keys() == {"what", "where", "fix"}


def test_a_database_that_is_gone_is_a_system_of_ours_and_none_of_the_callers(service, tmp_path):
    client = service.as_("sam")
    (tmp_path / "lockstep.db").rename(tmp_path / "away.db")
    answer = client.get("/v1/jobs")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    (tmp_path / "away.db").rename(tmp_path / "lockstep.db")
    assert client.get("/v1/jobs").status_code == 200


def test_a_flood_of_refusals_is_counted_in_the_log(service):
    nobody = service.as_("")
    for _ in range(30):
        assert nobody.get("/v1/jobs").status_code == 401
    assert len(service.audit()) == 1
    with TestClient(service.app, base_url="http://127.0.0.1"):
        """The server ends."""
    assert service.audit()[0][4] == "29 more within a minute, the last one 401: there is no token"
