"""Queues, tokens, nodes, the audit log: who may look after them, and that it is noted."""

from __future__ import annotations

import hashlib

import pytest

from orchestrator.api.app import create_app
from orchestrator.records.facts import JobState
from workers.storage import Store


def test_queues_are_set_looked_at_and_removed(service):
    ada = service.as_("ada")
    settings = {"weight": 2, "quota": {"gpu_millis": 8000}, "limit": {"gpu_millis": 16000}, "user_limit": {}}
    made = ada.put("/v1/queues/green", json=settings)
    assert made.status_code == 200
    assert ada.get("/v1/queues/green").json() == made.json()
    assert made.json()["quota"] == {"cpu_millis": 0, "gpu_millis": 8000, "memory_mib": 0}
    assert made.json()["limit"] == {"cpu_millis": None, "gpu_millis": 16000, "memory_mib": None}
    assert service.loop.woken == 1
    assert ada.delete("/v1/queues/green").status_code == 204
    assert ada.get("/v1/queues/green").status_code == ada.delete("/v1/queues/green").status_code == 404
    assert [entry[1] for entry in service.audit()] == ["delete queue", "queue"]


def test_a_queue_with_jobs_stays(service):
    service.submit("a", "rosa", queue="red")
    answer = service.as_("ada").delete("/v1/queues/red")
    assert answer.status_code == 409
    assert "not over" in answer.json()["error"]["what"]


@pytest.mark.parametrize("user", ["vera", "sam", "rosa", "redadmin"])
def test_only_admins_of_all_queues_look_after_the_server(service, user):
    client = service.as_(user)
    answers = [
        client.put("/v1/queues/red", json={"weight": 100}),
        client.delete("/v1/queues/red"),
        client.get("/v1/tokens"),
        client.post("/v1/tokens", json={"user": "me", "role": "admin"}),
        client.delete("/v1/tokens/0000000000"),
        client.get("/v1/audit"),
        client.get("/v1/debug/snapshot"),
        client.post("/v1/nodes/n1/drain", json={}),
    ]
    assert [answer.status_code for answer in answers] == [403] * len(answers)
    assert [entry[0:1] + entry[3:4] for entry in service.audit()] == [(user, False)] * len(answers)
    assert service.loop.asked == []


def test_who_sees_some_queues_sees_only_those(service):
    assert [queue["id"] for queue in service.as_("rosa").get("/v1/queues").json()["queues"]] == ["red"]
    assert [queue["id"] for queue in service.as_("vera").get("/v1/queues").json()["queues"]] == [
        "blue",
        "default",
        "red",
    ]
    assert service.as_("rosa").get("/v1/queues/blue").status_code == 404
    assert service.as_("rosa").get("/metrics").status_code == 403
    assert service.as_("vera").get("/metrics").text.startswith("# HELP")


def test_a_token_is_made_used_and_revoked_and_its_secret_is_kept_nowhere(service, tmp_path):
    ada = service.as_("ada")
    made = ada.post("/v1/tokens", json={"user": "new", "role": "submitter", "queues": ["red"]})
    assert made.status_code == 201
    token = made.json()
    secret = token["secret"]
    headers = {"Authorization": f"Bearer {secret}"}
    assert service.as_("").get("/v1/jobs", headers=headers).status_code == 200
    assert "secret" not in ada.get("/v1/tokens").json()["tokens"][0]
    service.database.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("lockstep.db*"))
    assert secret.encode() not in stored
    assert hashlib.sha256(secret.encode()).hexdigest().encode() in stored
    assert ada.delete(f"/v1/tokens/{token['id']}").json()["revoked_at"] > 0
    assert service.as_("").get("/v1/jobs", headers=headers).status_code == 401
    assert secret not in str(service.audit())


@pytest.mark.parametrize(
    "wrong",
    [
        {"user": "../x", "role": "viewer"},
        {"user": "x", "role": "root"},
        {"user": "x", "role": "viewer", "queues": []},
        {"user": "x", "role": "viewer", "queues": ["nowhere"]},
        {"user": "x", "role": "viewer", "expires_at": "NaN"},
    ],
)
def test_tokens_for_nobody_are_refused(service, wrong):
    assert service.as_("ada").post("/v1/tokens", json=wrong).status_code == 422


def test_the_audit_log_comes_in_pages(service):
    for i in range(5):
        service.submit(f"job-{i}")
    client = service.as_("ada")
    first = client.get("/v1/audit", params={"limit": 3}).json()
    second = client.get("/v1/audit", params={"limit": 3, "cursor": first["next"]}).json()
    assert [entry["action"] for entry in first["entries"] + second["entries"]] == ["submit"] * 5
    assert second["next"] is None
    entry = first["entries"][0]
    assert (entry["who"], entry["address"], entry["allowed"]) == ("sam", "testclient", True)
    assert entry["time"] > 0


def test_a_node_is_drained_by_its_name(service):
    ada = service.as_("ada")
    assert ada.get("/v1/nodes").json()["nodes"][0]["used"]["cpu_millis"] == 2000
    assert ada.post("/v1/nodes/one/drain", json={"seconds": 5}).status_code == 202
    assert service.loop.asked == [("drain", "one", "5")]
    assert ada.post("/v1/nodes/two/drain", json={}).status_code == 404
    assert ada.post("/v1/nodes/one/drain", json={"seconds": -1}).status_code == 422
    assert [entry[1] for entry in service.audit() if entry[3]] == ["drain"]


def test_what_the_scheduler_saw_can_be_saved(service):
    assert service.as_("ada").get("/v1/debug/snapshot").json() == {"now": 1}


def test_without_a_loop_what_it_alone_knows_is_away_for_a_while(service, tmp_path):
    service.app = create_app(
        service.database, wake=lambda: None, bundles=Store((tmp_path / "objects").as_uri())
    )
    service.submit()
    assert service.as_("sam").post("/v1/jobs/toy/save").status_code == 503
    assert service.as_("ada").get("/v1/debug/snapshot").status_code == 503
    assert service.as_("ada").get("/v1/nodes").json() == {"nodes": []}
    assert service.as_("sam").get("/v1/jobs/toy/logs").json()["text"] == ""


def test_all_at_a_glance_shows_what_is_running_first_and_what_each_queue_has(service):
    running = service.submit(
        "running", "rosa", queue="red", workers={"min": 1, "max": 2, "cpus": 2, "gpus": 0.5}
    )
    service.submit("waiting")
    over = service.submit("over")
    service.move(over, JobState.CANCELLED)
    service.move(running, JobState.STARTING)
    with service.database.transaction() as tx:
        tx.allocations.put(running, {"n1": 2, "n2": 1})
    seen = service.as_("ada").get("/v1/summary").json()
    assert [job["job"] for job in seen["jobs"]] == ["running", "waiting"]
    queues = {queue["id"]: queue for queue in seen["queues"]}
    assert queues["red"]["used"] == {"cpu_millis": 6000, "gpu_millis": 1500, "memory_mib": 0}
    assert queues["red"]["states"] == {"starting": 1}
    assert queues["default"]["states"] == {"queued": 1, "cancelled": 1}
    mine = service.as_("rosa").get("/v1/summary").json()
    assert ([job["job"] for job in mine["jobs"]], [queue["id"] for queue in mine["queues"]]) == (
        ["running"],
        ["red"],
    )
    none = service.as_("blue").get("/v1/summary").json()
    assert (none["jobs"], [queue["id"] for queue in none["queues"]]) == ([], ["blue"])
