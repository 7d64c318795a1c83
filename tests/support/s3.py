"""A real S3 server for tests: Ceph's RADOS gateway on loopback, in memory, gone when the tests are.

One monitor, one object store daemon that keeps everything in memory, and the gateway. All of them share one
key, since none of them leaves loopback; S3 users have their own.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("ceph", "ceph-authtool", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
HOW_TO_INSTALL = "apt-get install -y --no-install-recommends radosgw ceph-mon ceph-osd"
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
GATEWAY = ("radosgw", "-n", "client.rgw")
START_SECONDS_MAX = 60
MEMBERS = ("mon.", "osd.0", "client.admin", "client.rgw")
RIGHTS = 'caps mon = "allow *"\ncaps osd = "allow *"\ncaps mgr = "allow *"\n'

CONFIGURATION = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon_port}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
ms bind msgr1 = false
keyring = {folder}/keyring
auth allow insecure global id reclaim = false
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 1000
mon data avail crit = 0
mon osd min in ratio = 0
paxos propose interval = 0.02
paxos min wait = 0.01
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 2147483648
mon data = {folder}/mon
osd data = {folder}/osd
rgw data = {folder}/rgw
run dir = {folder}
admin socket =
pid file =
log file = {folder}/$name.log
mon cluster log file = {folder}/cluster.log
log to stderr = false
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw run sync thread = false
rgw enable gc threads = false
rgw enable lc threads = false
"""


@dataclass(frozen=True, kw_only=True)
class S3Account:
    """Keys of one user of the server."""

    access_key: str
    secret_key: str


@dataclass(kw_only=True)
class Gateway:
    """The process that speaks S3; what it serves is kept by another one, and survives it."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    def freeze(self) -> None:
        """From now on it accepts connections, and does nothing else."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """There is nobody at its port."""
        self.process.kill()
        self.process.wait()

    def start(self) -> None:
        """Have one, if there is none. The first bucket after one was killed waits for half a minute."""
        if self.process.poll() is not None:
            self.process = _spawn(self.folder, *GATEWAY)
            self.wait()

    def wait(self) -> None:
        """Until it accepts connections."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline and self.process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise RuntimeError(f"the S3 gateway did not start; its logs are in {self.folder}")


@dataclass(frozen=True, kw_only=True)
class S3Server:
    """A running server. `owner` may do everything with its buckets, `stranger` nothing with them."""

    endpoint: str
    owner: S3Account
    stranger: S3Account
    gateway: Gateway

    def environment(self, account: S3Account | None = None) -> dict[str, str]:
        """Environment variables that lead any AWS client here, and only here."""
        account = account or self.owner
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": account.access_key,
            "AWS_SECRET_ACCESS_KEY": account.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def make_bucket(self, prefix: str = "test") -> str:
        """A new bucket of the owner's; its name."""
        import boto3

        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.owner.access_key,
            aws_secret_access_key=self.owner.secret_key,
        )
        name = f"{prefix}-{uuid.uuid4().hex[:12]}"
        client.create_bucket(Bucket=name)
        return name


def missing_programs() -> list[str]:
    """What of the server is not installed."""
    return [program for program in PROGRAMS if shutil.which(program, path=PATH) is None]


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Start a server that keeps its logs in `folder`; stop it in the end, whatever happens."""
    port, mon_port = _free_ports(2)
    _configure(folder, port, mon_port)
    accounts = [
        S3Account(access_key=f"{name}-access", secret_key=f"{name}-secret") for name in ("owner", "stranger")
    ]
    with ExitStack() as running:
        running.enter_context(_daemon(folder, "ceph-mon", "-i", "a"))
        _call(folder, "ceph", "osd", "new", (folder / "osd-uuid").read_text(), "0")
        _call(folder, "ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", (folder / "osd-uuid").read_text())
        running.enter_context(_daemon(folder, "ceph-osd", "-i", "0"))
        gateway = Gateway(folder=folder, port=port, process=_spawn(folder, *GATEWAY))
        running.callback(gateway.kill)
        for account in accounts:
            _make_account(folder, account)
        gateway.wait()
        owner, stranger = accounts
        yield S3Server(endpoint=f"http://127.0.0.1:{port}", owner=owner, stranger=stranger, gateway=gateway)


def _configure(folder: Path, port: int, mon_port: int) -> None:
    fsid = str(uuid.uuid4())
    for name in ("mon", "osd", "rgw"):
        (folder / name).mkdir(parents=True)
    (folder / "osd-uuid").write_text(str(uuid.uuid4()))
    text = CONFIGURATION.format(fsid=fsid, mon_port=mon_port, port=port, folder=folder)
    (folder / "ceph.conf").write_text(text)
    key = _call(folder, "ceph-authtool", "--gen-print-key").strip()
    (folder / "keyring").write_text("".join(f"[{name}]\nkey = {key}\n{RIGHTS}" for name in MEMBERS))
    monmap = str(folder / "monmap")
    address = f"[v2:127.0.0.1:{mon_port}]"
    _call(folder, "monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, monmap)
    _call(folder, "ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", str(folder / "keyring"))


def _make_account(folder: Path, account: S3Account) -> None:
    user = account.access_key.split("-")[0]
    keys = [f"--access-key={account.access_key}", f"--secret-key={account.secret_key}"]
    _call(
        folder, "radosgw-admin", "-n", "client.rgw", "user", "create", f"--uid={user}",
        f"--display-name={user}", *keys,
    )  # fmt: skip


@contextmanager
def _daemon(folder: Path, program: str, *arguments: str) -> Iterator[None]:
    process = _spawn(folder, program, *arguments)
    try:
        yield
    finally:  # nothing in memory is worth a clean exit
        process.kill()
        process.wait()


def _spawn(folder: Path, program: str, *arguments: str) -> subprocess.Popen[bytes]:
    """A server process that also ends when this one is killed."""
    command = ["setpriv", "--pdeathsig", "KILL", program, "-f", *arguments]
    with (folder / f"{program}.out").open("ab") as output:
        return subprocess.Popen(command, env=_environment(folder), stdout=output, stderr=output)


def _call(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command, env=_environment(folder), capture_output=True, text=True, timeout=START_SECONDS_MAX
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": PATH, "CEPH_CONF": str(folder / "ceph.conf"), "HOME": str(folder)}


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
