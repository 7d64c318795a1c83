"""The API's description is complete, and nothing that fits it makes the service fail."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.service import make_service

_EXAMPLES = 15  # of each endpoint


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    made = make_service(tmp_path_factory.mktemp("fuzz"))
    yield made
    made.database.close()


def operations(service):
    document = service.as_("").get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_every_endpoint_says_what_it_does_how_it_fails_and_who_may(service):
    for path, method, operation in operations(service):
        name = f"{method} {path}"
        assert operation["summary"], name
        assert operation["description"], name
        if path == "/healthz":
            continue
        assert operation["security"], name
        assert {"401", "403", "422", "503"} <= operation["responses"].keys(), name
        assert any(status.startswith("2") for status in operation["responses"]), name


def test_every_endpoint_but_one_wants_a_token(service):
    for path, method, _ in operations(service):
        answer = service.as_("").request(method, path.replace("{", "").replace("}", ""))
        assert answer.status_code == (200 if path == "/healthz" else 401), path


@pytest.mark.slow
def test_nothing_that_anybody_sends_makes_it_fail(service):
    """Schemathesis: requests that fit the description, and such that do not, as an admin."""
    service.submit("toy", "sam")
    service.submit("red-one", "rosa", queue="red")
    schema = schemathesis.openapi.from_asgi("/openapi.json", service.app)
    headers = {"Authorization": f"Bearer {service.secrets['ada']}", "Host": "127.0.0.1"}
    failed, asked = [], 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation is None:
            raise AssertionError(result)
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):

            @settings(
                max_examples=_EXAMPLES,
                deadline=None,
                database=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            )
            @given(data=st.data())
            def probe(data, operation=operation, mode=mode):
                nonlocal asked
                case = data.draw(operation.as_strategy(generation_mode=mode))
                if "follow" in (case.query or {}):
                    case.query.pop("follow")  # a stream would not end
                answer = case.call(headers=headers)
                asked += 1
                if answer.status_code >= 500 and answer.status_code != 503:
                    failed.append((operation.label, answer.status_code, case.as_curl_command()))

            try:
                probe()
            except schemathesis.errors.LoaderError:
                raise
    assert failed == []
    assert asked > 300
