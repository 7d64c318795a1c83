"""The local store keeps the contract that S3 keeps; what went wrong is said in the user's words."""

import os
import pickle
import time
from pathlib import Path

import pytest
from obstore import exceptions

from workers.errors import AccessError, InputError, UnreachableError
from workers.storage import AlreadyExists, Changed, NotFound, Store, as_uri
from workers.storage_errors import translate


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store((tmp_path / "a folder").as_uri())


def test_what_is_put_is_what_is_got(store: Store) -> None:
    store.put("sub/ünïcode %41.bin", b"0123456789")
    assert store.get("sub/ünïcode %41.bin") == b"0123456789"
    assert bytes(store.get_range("sub/ünïcode %41.bin", 2, 3)) == b"234"
    assert bytes(store.get_range("sub/ünïcode %41.bin", 8, 100)) == b"89"
    assert store.head("sub/ünïcode %41.bin").size == 10
    assert store.exists("sub/ünïcode %41.bin")
    assert pickle.loads(pickle.dumps(store)).get("sub/ünïcode %41.bin") == b"0123456789"


def test_listing_is_sorted_relative_and_by_whole_components(store: Store) -> None:
    assert list(store.list()) == []
    for name in ("b", "a/2", "a/1", "ab/3"):
        store.put(name, name.encode())
    assert [info.name for info in store.list()] == ["a/1", "a/2", "ab/3", "b"]
    assert [(info.name, info.size) for info in store.list("a")] == [("a/1", 3), ("a/2", 3)]
    assert [info.etag for info in store.list("b")] == []
    assert next(store.list("a")).etag == store.head("a/1").etag != ""


def test_a_conditional_create_never_replaces(store: Store) -> None:
    store.create("x", b"first")
    with pytest.raises(AlreadyExists):
        store.create("x", b"second")
    assert store.get("x") == b"first"
    store.put("x", b"third")
    assert store.get("x") == b"third"


def test_unfinished_files_are_neither_listed_nor_left(store: Store, tmp_path: Path) -> None:
    store.put("x", b"1")
    with pytest.raises(AlreadyExists):
        store.create("x", b"2")
    assert os.listdir(tmp_path / "a folder") == ["x"]
    (tmp_path / "a folder" / "y#123").write_bytes(b"half")
    assert [info.name for info in store.list()] == ["x"]


def test_a_pinned_read_refuses_another_version(store: Store) -> None:
    store.put("x", b"first")
    etag = store.head("x").etag
    assert bytes(store.get_range("x", 1, 2, etag=etag)) == b"ir"
    store.put("x", b"other bytes")
    with pytest.raises(Changed):
        store.get_range("x", 1, 2, etag=etag)


def test_missing_objects_are_not_found_and_deleting_them_is_fine(store: Store) -> None:
    for call in (store.get, store.head, lambda name: store.get_range(name, 0, 1)):
        with pytest.raises(NotFound, match="missing: there is no such object"):
            call("missing")
    assert not store.exists("missing")
    store.put("x", b"")
    store.delete(["missing", "x"])
    assert not store.exists("x")


def test_a_place_that_cannot_be_written_is_an_access_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(AccessError) as caught:
        Store((tmp_path / "file" / "below").as_uri()).put("x", b"1")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "uri", ["", "relative", "/plain", "ftp://x/y", "file://host/x", "file:///", "s3:///x"]
)
def test_addresses_that_name_nothing_are_refused(uri: str) -> None:
    with pytest.raises(InputError):
        Store(uri)


def test_what_users_type_becomes_an_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert as_uri("s3://bucket/x") == "s3://bucket/x"
    assert as_uri("data set") == f"{tmp_path.as_uri()}/data%20set"
    assert Store(as_uri("data set")).uri == as_uri(str(tmp_path / "data set"))
    assert as_uri("~") == Path.home().as_uri()


def s3_says(status: str, code: str) -> str:
    return (
        f"Generic S3 error: Server returned non-2xx status code: {status}: <Error><Code>{code}</Code></Error>"
    )


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (exceptions.GenericError(s3_says("404 Not Found", "NoSuchBucket")), AccessError, "no such bucket"),
        (FileNotFoundError(s3_says("404 Not Found", "NoSuchBucket")), AccessError, "no such bucket"),
        (FileNotFoundError(s3_says("404 Not Found", "NoSuchKey")), NotFound, "no such object"),
        (
            exceptions.GenericError(s3_says("403 Forbidden", "InvalidAccessKeyId")),
            AccessError,
            "access key is unk",
        ),
        (exceptions.PermissionDeniedError(s3_says("403", "RequestTimeTooSkewed")), AccessError, "clock"),
        (exceptions.PermissionDeniedError("status code: 403 Forbidden: "), AccessError, "refused access"),
        (exceptions.GenericError(s3_says("403 Forbidden", "NewCode")), AccessError, "refused access"),
        (exceptions.PreconditionError("412"), Changed, "not the version"),
        (exceptions.AlreadyExistsError("412"), AlreadyExists, "exists already"),
        (exceptions.GenericError(s3_says("503", "SlowDown")), UnreachableError, "SlowDown"),
        (exceptions.GenericError("error sending request"), UnreachableError, "error sending request"),
        (OSError(28, "No space left on device"), AccessError, "No space left"),
        (PermissionError(13, "Permission denied"), AccessError, "refused access"),
    ],
)
def test_what_a_store_says_is_put_into_words(error: Exception, kind: type[Exception], words: str) -> None:
    translated = translate(error, "s3://bucket/name")
    assert type(translated) is kind
    assert translated.where == "s3://bucket/name"
    assert words in translated.what


def test_the_store_says_when_an_object_was_written(store: Store, tmp_path: Path) -> None:
    store.put("x", b"1")
    os.utime(tmp_path / "a folder" / "x", (1000.5, 1000.5))
    store.put("y", b"1")
    x, y = store.list()
    assert x.modified == store.head("x").modified == 1000.5
    assert abs(y.modified - time.time()) < 60


def test_a_parent_that_is_a_file_is_not_an_object_that_exists(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for call in (Store((tmp_path / "file").as_uri()).put, Store((tmp_path / "file").as_uri()).create):
        with pytest.raises(AccessError, match="Not a directory"):
            call("x", b"1")


def test_what_killed_writers_left_can_be_removed(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    assert store.remove_unfinished() == 0
    for name in ("x", "sub/y", "sub/deep/z", "not#one"):
        store.put(name, b"1")
    for name in ("x#1", "sub/y#234", "sub/deep/z#5"):
        (folder / name).write_bytes(b"half")
    assert set(store.unfinished("sub")) == {"sub/y#234", "sub/deep/z#5"}
    assert store.remove_unfinished("sub", before=(folder / "sub/y#234").stat().st_mtime - 1) == 0
    assert store.remove_unfinished("sub") == 2
    assert store.remove_unfinished() == 1
    assert [info.name for info in store.list()] == ["not#one", "sub/deep/z", "sub/y", "x"]
    assert sorted(path.name for path in folder.rglob("*#*")) == ["not#one"]
