"""Jobs over the wire: handed in, listed, looked at, wished for, hidden from others."""

from __future__ import annotations

import pytest

from orchestrator.records.facts import JobState
from tests.support.service import NOW, spec


def test_a_job_is_handed_in_and_the_loop_is_woken(service):
    answer = service.as_("sam").post("/v1/jobs", json={"spec": spec("first", priority=3)})
    assert answer.status_code == 201
    job = answer.json()
    assert job["job"] == "first"
    assert (job["state"], job["user"], job["queue"], job["priority"]) == ("queued", "sam", "default", 3)
    assert (job["min_workers"], job["max_workers"], job["steps"], job["attempt"]) == (1, 2, 3, 0)
    assert service.loop.woken == 1
    for ref in ("first", job["id"]):
        assert service.as_("sam").get(f"/v1/jobs/{ref}").json() == job
    assert service.audit()[0][:4] == ("sam", "submit", job["id"], True)


def test_the_user_is_whose_token_it_is_and_nothing_else_can_be_said(service):
    answer = service.as_("sam").post("/v1/jobs", json={"spec": spec(), "user": "ada"})
    assert answer.status_code == 422
    assert "user" in answer.json()["error"]["where"]


def test_the_same_key_hands_in_once(service):
    client, new = service.as_("sam"), {"spec": spec(), "key": "k1"}
    first, second = client.post("/v1/jobs", json=new), client.post("/v1/jobs", json=new)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert service.loop.woken == 1
    other = client.post("/v1/jobs", json={"spec": spec("other"), "key": "k1"})
    assert other.status_code == 409
    assert first.json()["id"] in other.json()["error"]["what"]
    assert (
        service.as_("rosa")
        .post("/v1/jobs", json={"spec": spec("hers", queue="red"), "key": "k1"})
        .status_code
        == 201
    )


def test_a_name_is_taken_until_its_job_is_over(service):
    client = service.as_("sam")
    id = service.submit()
    answer = client.post("/v1/jobs", json={"spec": spec()})
    assert answer.status_code == 409
    assert id in answer.json()["error"]["what"]
    service.move(id, JobState.CANCELLED)
    again = client.post("/v1/jobs", json={"spec": spec()}).json()
    assert client.get("/v1/jobs/toy").json()["id"] == again["id"]
    assert client.get(f"/v1/jobs/{id}").json()["state"] == "cancelled"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"batch": {"size": 8, "virtual_ranks": 3}}, "do not divide"),
        ({"name": "No Name"}, "lower-case"),
        ({"batch": {"siez": 8}}, "size"),
        ({"params": {"x": 1e999}}, "finite"),
        ({"checkpoint": {"uri": "relative/path"}}, "relative to nothing"),
        ({"checkpoint": {"uri": "~nobody-at-all/x"}}, "home"),
        ({"queue": "rde"}, "red"),
        ({"workers": {"min": 3, "max": 2}}, "min is 3"),
        ({"workers": {"min": 1, "max": 5}}, "virtual ranks"),
        ({"batch": None}, "batch"),
    ],
)
def test_a_job_that_makes_no_sense_is_refused_in_words(service, wrong, words):
    import json

    content = json.dumps({"spec": {**spec(), **wrong}}).encode()  # Infinity and all
    answer = service.as_("sam").post(
        "/v1/jobs", content=content, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert words in f"{error['what']} {error['fix']}"
    assert service.loop.woken == 0


def test_what_is_stored_of_a_job_is_the_whole_checked_spec_and_reads_back_as_it(service):
    import json

    from orchestrator.spec import JobSpec

    given = spec(
        freeze=["encoder.*"],
        params={"width": 3, "list": [1, 2.5]},
        checkpoint={"uri": "s3://bucket/runs", "every": "5m"},
    )
    service.submit(**{key: value for key, value in given.items() if key != "name"})
    with service.database.reading() as tx:
        stored = tx.jobs.get("toy").submission.spec
    again = JobSpec.model_validate_json(json.dumps(stored))
    assert again == JobSpec.model_validate_json(json.dumps(given))
    assert again.freeze == ("encoder.*",)
    assert stored["seed"] == 0, "defaults of another version do not change a job that waits"


def test_lists_come_in_pages_that_lose_and_double_nothing(service):
    ids = [service.submit(f"job-{i}") for i in range(7)]
    client = service.as_("sam")
    found, cursor = [], None
    while True:
        page = client.get("/v1/jobs", params={"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
        found += [job["id"] for job in page["jobs"]]
        cursor = page["next"]
        if cursor is None:
            break
        service.submit(f"late-{cursor}")  # what comes meanwhile moves no page
    assert found == ids[::-1]


def test_lists_are_narrowed_by_state_queue_and_user(service):
    service.submit("a")
    service.submit("b", "rosa", queue="red")
    cancelled = service.submit("c")
    service.move(cancelled, JobState.CANCELLED)
    client = service.as_("ada")

    def names(**query):
        return [job["job"] for job in client.get("/v1/jobs", params=query).json()["jobs"]]

    assert names() == ["c", "b", "a"]
    assert names(state=["queued"]) == ["b", "a"]
    assert names(state=["cancelled", "queued"], user="sam") == ["c", "a"]
    assert names(queue=["red"]) == ["b"]
    assert client.get("/v1/jobs", params={"state": "lost"}).status_code == 422


def test_what_is_in_other_queues_does_not_exist(service):
    id = service.submit("secret", "rosa", queue="red")
    blue = service.as_("blue")
    assert blue.get("/v1/jobs").json()["jobs"] == []
    assert blue.get("/v1/jobs", params={"queue": "red"}).json()["jobs"] == []
    hidden, none = blue.get(f"/v1/jobs/{id}"), blue.get("/v1/jobs/0000000000")
    assert hidden.status_code == none.status_code == 404
    assert hidden.json()["error"]["what"] == none.json()["error"]["what"]
    noted = service.audit()[0]
    assert noted[:4] == ("blue", "GET", f"/v1/jobs/{id}", False)
    assert "queue red" in noted[4]
    for path in ("events", "logs", "explain"):
        assert blue.get(f"/v1/jobs/{id}/{path}").status_code == 404
    for wish in ("pause", "resume", "cancel", "save"):
        assert blue.post(f"/v1/jobs/{id}/{wish}").status_code == 404
    assert blue.post(f"/v1/jobs/{id}/resize", json={"workers": 1}).status_code == 404
    with service.database.reading() as tx:
        assert tx.jobs.get(id).version == 1


def test_a_misspelt_name_is_helped_along_but_not_with_names_of_others(service):
    service.submit("secret-name", "rosa", queue="red")
    assert "secret-name" in service.as_("ada").get("/v1/jobs/secret-nam").text
    assert "secret-name" not in service.as_("blue").get("/v1/jobs/secret-nam").text.replace('secret-nam"', "")


def test_a_token_is_good_for_its_queues_only(service):
    answer = service.as_("rosa").post("/v1/jobs", json={"spec": spec(queue="blue")})
    assert answer.status_code == 403
    assert service.audit()[0][3] is False
    with service.database.reading() as tx:
        assert tx.jobs.page() == []


def test_a_viewer_looks_and_changes_nothing(service):
    id = service.submit()
    vera = service.as_("vera")
    assert vera.get("/v1/jobs/toy").status_code == 200
    assert vera.post("/v1/jobs", json={"spec": spec("hers")}).status_code == 403
    for wish in ("pause", "cancel"):
        assert vera.post(f"/v1/jobs/{id}/{wish}").status_code == 403
    assert service.audit()[0][0] == "vera"
    with service.database.reading() as tx:
        assert tx.jobs.get(id).version == 1


def test_jobs_of_others_in_the_same_queue_are_seen_and_left_alone(service):
    id = service.submit("hers", "rosa", queue="red")
    assert service.as_("rob").get(f"/v1/jobs/{id}").status_code == 200
    answer = service.as_("rob").post(f"/v1/jobs/{id}/cancel")
    assert (answer.status_code, answer.json()["error"]["what"]) == (403, "the job is rosa's")
    assert service.as_("redadmin").post(f"/v1/jobs/{id}/cancel").status_code == 200
    assert service.audit()[0][:4] == ("redadmin", "cancel", id, True)


def test_wishes_are_noted_for_the_loop_and_move_nothing(service):
    id = service.submit()
    client = service.as_("sam")
    woken = service.loop.woken
    paused = client.post(f"/v1/jobs/{id}/pause").json()
    assert (paused["state"], paused["intent"]) == ("queued", "pause")
    service.move(id, JobState.PAUSED)
    assert client.post(f"/v1/jobs/{id}/resume").json()["intent"] == "run"
    sized = client.post(f"/v1/jobs/{id}/resize", json={"min_workers": 2, "max_workers": 4}).json()
    assert (sized["min_workers"], sized["max_workers"]) == (2, 4)
    sized = client.post(f"/v1/jobs/{id}/resize", json={"workers": 3}).json()
    assert (sized["min_workers"], sized["max_workers"]) == (3, 3)
    assert client.post(f"/v1/jobs/{id}/cancel").json()["intent"] == "cancel"
    assert service.loop.woken == woken + 5
    events = client.get(f"/v1/jobs/{id}/events").json()["events"]
    assert [event["kind"] for event in events] == [
        "submitted",
        "pause",
        "state",
        "resume",
        "resize",
        "resize",
        "cancel",
    ]


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ({"workers": 5}, "4 virtual ranks"),
        ({"max_workers": 5}, "4 virtual ranks"),
        ({"workers": 0}, "greater than or equal to 1"),
        ({}, "give either"),
        ({"workers": 1, "max_workers": 2}, "give either"),
        ({"min_workers": 3}, "3 workers at least and 2 at most"),
    ],
)
def test_sizes_that_make_no_sense_are_refused_in_words(service, size, words):
    id = service.submit()
    answer = service.as_("sam").post(f"/v1/jobs/{id}/resize", json=size)
    assert answer.status_code in (409, 422)
    assert words in answer.json()["error"]["what"]


def test_what_is_over_cannot_be_wished_for(service):
    id = service.submit()
    service.move(id, JobState.CANCELLED)
    answer = service.as_("sam").post(f"/v1/jobs/{id}/pause")
    assert answer.status_code == 409
    assert "it is over" in answer.json()["error"]["what"]


def test_saving_is_asked_of_the_loop(service):
    id = service.submit()
    assert service.as_("sam").post("/v1/jobs/toy/save").status_code == 200
    assert service.loop.asked == [("save", id)]


def test_a_job_looks_as_it_was_seen_last_but_for_what_the_record_knows_better(service):
    id = service.submit()
    view = {
        "job": "toy", "state": "running", "step": 2, "steps": 3, "loss": "NaN", "metrics": {"acc": 0.5},
        "workers": [{"id": "w0", "pid": 1, "node": "n", "device": "cpu", "vranks": [0], "state": "training"}],
        "seconds": 4.0, "startup": {"imports": 1.0},
    }  # fmt: skip
    service.move(id, JobState.STARTING)
    service.move(id, JobState.RUNNING, view=view)
    service.move(id, JobState.STOPPING)
    job = service.as_("sam").get(f"/v1/jobs/{id}").json()
    assert (job["state"], job["step"], job["loss"], job["metrics"]) == ("stopping", 2, "NaN", {"acc": 0.5})
    assert job["workers"] == view["workers"]
    assert job["seconds"] == 4.0
    assert job["started_at"] == NOW


def test_a_job_says_why_it_waits(service):
    id = service.submit()
    why = {
        "code": "no_room",
        "sentence": "2 workers need room at once",
        "facts": {"needed": 2},
        "remedy": "more",
        "eta": 5.0,
    }
    with service.database.transaction() as tx:
        tx.jobs.explain({id: why})
    answer = service.as_("vera").get(f"/v1/jobs/{id}/explain").json()
    assert answer == {"id": id, "job": "toy", "state": "queued", "reason": "", "explain": why}
