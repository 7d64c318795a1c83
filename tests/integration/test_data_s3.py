"""Data sets on a real S3 server: the same as on files, and errors that say what is wrong."""

import io
import tarfile
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.datasets import NUMBERS, number_set, numbers, raw_files
from tests.support.s3 import S3Account, S3Server
from workers.data.cache import NodeCache
from workers.data.dataset import Dataset
from workers.data.index import index
from workers.data.order import locate
from workers.data.pack import pack
from workers.data.reader import BlockReader
from workers.data.shards import write_shards
from workers.data.verify import verify
from workers.errors import AccessError, DataError, UnreachableError
from workers.storage import AlreadyExists, Changed, NotFound, Store

pytestmark = pytest.mark.s3
ROWS = 400


def write(uri: str) -> Dataset:
    write_shards(numbers(ROWS), NUMBERS, uri, block_bytes=500, shard_bytes=3000)
    return Dataset.open(uri)


def log_in(monkeypatch: pytest.MonkeyPatch, server: S3Server, account: S3Account) -> None:
    for name, value in server.environment(account).items():
        monkeypatch.setenv(name, value)


def test_a_data_set_is_the_same_on_s3_as_on_files(bucket: str, tmp_path: Path) -> None:
    remote = write(f"{bucket}/some prefix/set")
    write_shards(numbers(ROWS), NUMBERS, tmp_path.as_uri(), block_bytes=500, shard_bytes=3000)
    assert remote.manifest.digest == Dataset.open(tmp_path.as_uri()).manifest.digest
    assert verify(remote).damage == ()
    ids = np.random.default_rng(0).permutation(ROWS)
    records = BlockReader(remote).gather(*locate(remote.manifest.edges, ids))
    assert records["number"].to_pylist() == ids.tolist()


def test_raw_objects_are_packed_and_indexed_on_s3(bucket: str, tmp_path: Path) -> None:
    contents = [b"%d" % n * n for n in range(50)]
    source = Store(f"{bucket}/raw")
    for number, content in enumerate(contents):
        source.put(f"a b/{number:05d}.bin", content)
    manifest = index(source.uri)
    assert (manifest.rows, manifest.block(49).object) == (50, "a b/00049.bin")
    assert verify(Dataset.open(source.uri)).by_checksum == 0
    everything = BlockReader(Dataset.open(source.uri)).gather(np.arange(50), np.zeros(50, dtype=np.int64))
    assert everything["data"].to_pylist() == contents
    packed = pack(source.uri, f"{bucket}/packed")
    files = pack(raw_files(tmp_path / "raw" / "a b", contents).rsplit("/", 1)[0], (tmp_path / "set").as_uri())
    assert packed.digest == files.digest
    assert index(f"{bucket}/packed", checksums=True).digest == packed.digest
    source.put("a b/00049.bin", b"other")
    with pytest.raises(DataError, match="changed since it was indexed"):
        BlockReader(Dataset.open(source.uri)).gather(np.array([49]), np.array([0]))


@pytest.mark.parametrize("keep", [100, 0.5])
def test_a_truncated_shard_is_damage_and_not_an_outage(bucket: str, keep: float) -> None:
    dataset = write(f"{bucket}/set")
    last = dataset.manifest.block(len(dataset.manifest) - 1)
    length = 100 if keep == 100 else int(last.offset + last.length * keep)
    dataset.store.put(last.object, dataset.store.get(last.object)[:length])
    with pytest.raises(DataError, match="truncated"):
        BlockReader(dataset).gather(np.array([last.number]), np.array([0]))


def test_of_two_writers_one_wins(bucket: str) -> None:
    store = Store(f"{bucket}/runs")
    store.create("manifest", b"first")
    with pytest.raises(AlreadyExists):
        store.create("manifest", b"second")
    assert store.get("manifest") == b"first"
    etag = store.head("manifest").etag
    store.put("manifest", b"third")
    with pytest.raises(Changed):
        store.get_range("manifest", 0, 5, etag=etag)
    store.delete(["manifest", "never there"])
    with pytest.raises(NotFound):
        store.get("manifest")


def calls(uri: str) -> dict[str, object]:
    """Each way to reach a store."""
    store = Store(uri)
    return {
        "open": lambda: Dataset.open(uri),
        "list": lambda: list(store.list()),
        "get": lambda: store.get("x"),
        "put": lambda: store.put("x", b"1"),
        "create": lambda: store.create("x", b"1"),
        "index": lambda: index(uri),
    }


@pytest.mark.parametrize("call", ["open", "list", "get", "put", "create", "index"])
class TestRefusals:
    """Wrong input, exit code 2, whichever way the store is reached."""

    def refused(self, uri: str, call: str) -> str:
        with pytest.raises(AccessError) as caught:
            calls(uri)[call]()  # type: ignore[operator]
        assert caught.value.exit_code == 2
        assert caught.value.fix
        return caught.value.what

    def test_a_missing_bucket(self, bucket: str, call: str) -> None:
        assert "no such bucket" in self.refused(f"{bucket}-other/set", call)

    def test_an_unknown_access_key(
        self, bucket: str, s3: S3Server, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        log_in(monkeypatch, s3, S3Account(access_key="nobody", secret_key="nothing"))
        assert "access key is unknown" in self.refused(f"{bucket}/set", call)

    def test_a_wrong_secret_key(
        self, bucket: str, s3: S3Server, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        log_in(monkeypatch, s3, S3Account(access_key=s3.owner.access_key, secret_key="wrong"))
        assert "secret key does not fit" in self.refused(f"{bucket}/set", call)

    def test_a_bucket_of_somebody_else(
        self, bucket: str, s3: S3Server, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        log_in(monkeypatch, s3, s3.stranger)
        assert "no permission" in self.refused(f"{bucket}/set", call)

    def test_no_credentials(self, bucket: str, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        assert "no usable AWS settings" in self.refused(f"{bucket}/set", call)


def test_an_empty_prefix_says_so(bucket: str) -> None:
    with pytest.raises(DataError, match="there is nothing here"):
        Dataset.open(f"{bucket}/nothing")


def test_a_read_only_bucket_can_be_read_but_not_written(
    bucket: str, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(f"{bucket}/set")
    name = bucket.removeprefix("s3://")
    policy = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", '
        '"Action": ["s3:GetObject", "s3:ListBucket"], '
        f'"Resource": ["arn:aws:s3:::{name}", "arn:aws:s3:::{name}/*"]}}]}}'
    )
    boto3.client("s3").put_bucket_policy(Bucket=name, Policy=policy)
    log_in(monkeypatch, s3, s3.stranger)
    assert verify(Dataset.open(f"{bucket}/set")).damage == ()
    with pytest.raises(AccessError, match="no permission"):
        write_shards(numbers(3), NUMBERS, f"{bucket}/other")


def test_a_server_that_is_not_there_is_unreachable(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    with pytest.raises(UnreachableError) as caught:
        Store(f"{bucket}/set").get("x")
    assert caught.value.exit_code == 3


def test_a_number_set_survives_a_copy_between_stores(bucket: str, tmp_path: Path) -> None:
    local = number_set(tmp_path, ROWS)
    remote = Store(f"{bucket}/copy")
    for info in local.store.list():
        remote.put(info.name, local.store.get(info.name))
    copy = Dataset.open(remote.uri, digest=local.manifest.digest)
    assert verify(copy).by_checksum == len(local.manifest)


def everything(dataset: Dataset, **options: Any) -> list[dict[str, Any]]:
    edges = dataset.manifest.edges
    return BlockReader(dataset, **options).gather(*locate(edges, np.arange(dataset.rows))).to_pylist()


def test_tar_files_and_parquet_are_indexed_in_a_bucket_that_stays_as_it_is(
    bucket: str, tmp_path: Path
) -> None:
    store = Store(f"{bucket}/tars")
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as out:
        for number in range(300):
            member = tarfile.TarInfo(f"é {number}.bin")
            member.size = number
            out.addfile(member, io.BytesIO(bytes(number)))
    store.put("a b%.tar", sink.getvalue())
    table = pa.table({"n": list(range(500)), "text": ["x" * (n % 9) for n in range(500)]})
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=60)
    Store(f"{bucket}/tables").put("t.parquet", sink.getvalue())
    for name, expected in (
        ("tars", [{"__key__": f"é {n}", "bin": bytes(n)} for n in range(300)]),
        ("tables", table.to_pylist()),
    ):
        index(f"{bucket}/{name}", to=(tmp_path / name).as_uri())
        assert len(list(Store(f"{bucket}/{name}").list())) == 1
        assert everything(Dataset.open((tmp_path / name).as_uri())) == expected
    store.put("a b%.tar", sink.getvalue())
    with pytest.raises(DataError, match="changed since it was indexed"):
        everything(Dataset.open((tmp_path / "tars").as_uri()))


def test_what_is_on_the_disk_is_not_fetched_again(bucket: str, tmp_path: Path) -> None:
    dataset, cache = write(f"{bucket}/set"), NodeCache(tmp_path, 1 << 30)
    first = everything(dataset, on_disk=cache)
    dataset.store.delete([info.name for info in dataset.store.list()])
    assert everything(dataset, on_disk=NodeCache(tmp_path, 1 << 30)) == first
    with pytest.raises(DataError, match="missing"):
        everything(dataset)
