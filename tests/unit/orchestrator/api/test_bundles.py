"""The folders of jobs on their way in."""

from __future__ import annotations

import hashlib

import pytest

from orchestrator.api.config import Config
from orchestrator.bundles import fetch, pack
from tests.support.service import make_service, spec
from workers.storage import Store


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "recipe.py").write_text("class Net: ...\n")
    return pack(folder)


def test_a_bundle_is_sent_once_and_kept_as_it_is(service, bundle, tmp_path):
    client, path = service.as_("sam"), f"/v1/bundles/{bundle.sha256}"
    assert client.head(path).status_code == 404
    assert client.put(path, content=bundle.data).status_code == 204
    assert client.head(path).status_code == 204
    assert client.put(path, content=bundle.data).status_code == 204
    assert bytes(fetch(Store((tmp_path / "objects").as_uri()), bundle.sha256)) == bundle.data
    assert [entry[:4] for entry in service.audit()] == [("sam", "bundle", bundle.sha256, True)]


def test_a_job_with_its_folder_is_handed_in_only_when_the_folder_is_here(service, bundle):
    client, new = service.as_("sam"), {"spec": spec(), "bundle": bundle.sha256}
    answer = client.post("/v1/jobs", json=new)
    assert answer.status_code == 409
    assert f"PUT /v1/bundles/{bundle.sha256}" in answer.json()["error"]["fix"]
    client.put(f"/v1/bundles/{bundle.sha256}", content=bundle.data)
    assert client.post("/v1/jobs", json=new).json()["bundle"] == bundle.sha256


def test_other_bytes_than_the_name_says_are_refused(service, bundle):
    answer = service.as_("sam").put(f"/v1/bundles/{bundle.sha256}", content=bundle.data + b"x")
    assert answer.status_code == 422
    assert "SHA-256" in answer.json()["error"]["what"]
    assert service.as_("sam").head(f"/v1/bundles/{bundle.sha256}").status_code == 404


def test_what_no_packing_would_have_made_is_refused(service):
    data = b"not a tar archive, whatever it is" * 40
    digest = hashlib.sha256(data).hexdigest()
    assert service.as_("sam").put(f"/v1/bundles/{digest}", content=data).status_code == 422
    assert service.as_("sam").head(f"/v1/bundles/{digest}").status_code == 404


def test_a_bundle_that_is_too_large_is_cut_off(tmp_path, bundle):
    service = make_service(tmp_path, config=Config(bundle_bytes_max=1000))
    path = f"/v1/bundles/{bundle.sha256}"
    assert service.as_("sam").put(path, content=bundle.data).status_code == 413
    assert service.as_("sam").put(path, content=iter([bundle.data])).status_code == 413
    assert [entry[3:] for entry in service.audit()] == [(False, "413: more than 1,000 bytes")] * 2


def test_viewers_send_nothing(service, bundle):
    assert service.as_("vera").put(f"/v1/bundles/{bundle.sha256}", content=bundle.data).status_code == 403


@pytest.mark.parametrize("name", ["x", "A" * 64, "f" * 63, "f" * 65])
def test_what_is_no_digest_names_nothing(service, name):
    assert service.as_("sam").put(f"/v1/bundles/{name}", content=b"").status_code == 422
