"""The API's description is complete, and nothing that fits it makes the service fail."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from tests.support.service import make_service, serving

_EXAMPLES = 8  # of each endpoint


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
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_nothing_that_anybody_sends_makes_it_fail(service, mode):
    """Schemathesis: requests that fit the description, and such that do not, from an admin, over a socket."""
    names = {f"{mode.value}-{i}": service.submit(f"{mode.value}-{i}") for i in range(2)}
    known = [*names, *names.values()]
    statuses: Counter[int] = Counter()
    headers = {"Authorization": f"Bearer {service.secrets['ada']}"}
    with serving(service.app) as url:
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
        for result in schema.get_all_operations():
            with suppress(Unsatisfiable):  # nothing but what fits can be sent there
                probe(result.ok(), mode, known, headers, statuses)
    assert statuses.total() > 100
    assert set(statuses) >= ({200, 201, 404} if mode is GenerationMode.POSITIVE else {422})


def probe(operation, mode, known, headers, statuses):
    """Some requests to one endpoint; half of those about a job name one that is there."""

    @settings(max_examples=_EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @seed(1)
    @given(data=st.data())
    def ask(data):
        case = data.draw(operation.as_strategy(generation_mode=mode))
        if isinstance(case.query, dict):
            case.query.pop("follow", None)  # a stream ends with its job only
        if "job" in (case.path_parameters or {}) and data.draw(st.booleans()):
            case.path_parameters["job"] = data.draw(st.sampled_from(known))
        answer = case.call(headers=headers)
        statuses[answer.status_code] += 1
        assert answer.status_code < 500, (case.as_curl_command(), answer.text)

    ask()
