from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.bundles import Limits, pack
from workers.bundles.archive import decode
from workers.bundles.limits import LIMITS
from workers.errors import AccessError, InputError

KEY = b"-----BEGIN OPENSSH " + b"PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n"


def _put(folder: Path, **files: bytes) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in decode(pack(folder).data, LIMITS)}


@pytest.mark.parametrize(
    "name",
    [
        ".env",
        ".env.production",
        "prod.env",
        "tls.pem",
        "server.key",
        "id_ed25519",
        ".netrc",
        ".aws/credentials",
        ".ssh/config",
        ".kube/config",
        "kubeconfig",
        "credentials.json",
        "Secrets.toml",
        ".npmrc",
        "my-service-account-1.json",
    ],
)
def test_what_looks_like_a_secret_stays_here_and_that_is_said(tmp_path, name):
    (tmp_path / "sub" / name).parent.mkdir(parents=True)
    (tmp_path / "sub" / name).write_bytes(b"x")
    (tmp_path / "train.py").touch()
    bundle = pack(tmp_path)
    assert _names(tmp_path) == {"train.py"}
    (note,) = bundle.notes
    left = f"sub/{name.split('/')[0]}" if "/" in name else f"sub/{name}"
    assert note.startswith(f"left out {left}: it looks like ")
    assert f"a line `!{left}` in .lockstepignore" in note


@pytest.mark.parametrize(
    "name", [".env.example", "credentials.py", "id_rsa.pub", "keys.py", "environment.yml"]
)
def test_what_only_sounds_like_a_secret_goes_along(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    assert _names(tmp_path) == {name}
    assert pack(tmp_path).notes == ()


def test_a_private_key_under_any_name_stays_here(tmp_path):
    _put(tmp_path, **{"notes.txt": b"the key is\n" + KEY, "train.py": b""})
    bundle = pack(tmp_path)
    assert KEY not in bundle.data
    assert bundle.notes == (
        "left out notes.txt: it holds a private key; "
        "a line `!notes.txt` in .lockstepignore sends it all the same",
    )


def test_a_secret_that_is_asked_for_by_its_name_goes_along(tmp_path):
    (tmp_path / "certs").mkdir()
    _put(tmp_path, **{"ca.pem": b"1", "notes.txt": KEY, ".env": b"2", "certs/own.pem": b"3"})
    (tmp_path / ".lockstepignore").write_text("!ca.pem\n!/notes.txt\n!certs/own.pem\n")
    assert _names(tmp_path) == {"ca.pem", "notes.txt", "certs/own.pem", ".lockstepignore"}


def test_a_pattern_is_not_enough_to_send_a_secret(tmp_path):
    _put(tmp_path, **{".env": b"1", "train.py": b"2", "x.txt": b"3"})
    (tmp_path / ".lockstepignore").write_text("*\n!*.py\n!.*\n!.e*\n")
    assert _names(tmp_path) == {".lockstepignore", "train.py"}


@pytest.mark.parametrize("target", ["/etc/hostname", "../outside", "sub/../../outside", "loop"])
def test_a_link_out_of_the_folder_is_refused(tmp_path, target):
    folder = tmp_path / "job"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "outside").touch()
    (folder / "loop").symlink_to(target)
    with pytest.raises(InputError, match=r"a link out of the job's folder") as error:
        pack(folder)
    assert str(folder / "loop") in str(error.value)
    assert ".lockstepignore" in str(error.value)
    (folder / ".lockstepignore").write_text("loop\n")
    assert _names(folder) == {".lockstepignore"}


def test_a_link_out_by_way_of_another_is_refused(tmp_path):
    folder = tmp_path / "job"
    (folder / "p/q").mkdir(parents=True)
    (folder / "a").mkdir()
    (folder / "p/q/deep").symlink_to("../../a")
    assert _names(folder) == {"p/q/deep"}
    (folder / "up").symlink_to(
        "p/q/deep/../../x"
    )  # p/x, as far as names tell; the kernel goes above the folder
    with pytest.raises(InputError, match="a link out of the job's folder"):
        pack(folder)


def test_pipes_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="neither a file, a folder nor a link"):
        pack(tmp_path)


def test_a_name_that_is_not_utf_8_is_refused(tmp_path):
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff.py", os.O_CREAT | os.O_WRONLY))
    with pytest.raises(InputError, match="not UTF-8"):
        pack(tmp_path)


def test_a_folder_that_is_too_large_is_refused_and_its_largest_files_are_named(tmp_path):
    _put(tmp_path, **{f"part{number}": bytes(1024**2 * number) for number in range(8)})
    with pytest.raises(InputError) as error:
        pack(tmp_path, Limits(size=20 * 1024**2))
    text = str(error.value)
    assert "has 28.0 MiB, more than 20.0 MiB; largest: part7 (7.0 MiB), part6 (6.0 MiB)" in text
    assert "part2" not in text
    (tmp_path / ".lockstepignore").write_text("part7\npart6\n")
    assert pack(tmp_path, Limits(size=20 * 1024**2)).files == 7


def test_a_folder_with_too_many_files_is_refused_and_its_fullest_folders_are_named(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(30):
        (tmp_path / f"images/{number}.png").touch()
    with pytest.raises(InputError, match=r"more than 20 files; most of those found so far are in images"):
        pack(tmp_path, Limits(files=20))


def test_a_folder_that_is_not_there_or_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for name in ("file", "nothing"):
        with pytest.raises(InputError, match="no such folder"):
            pack(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "locked").touch(0o000)
    with pytest.raises(AccessError, match="locked"):
        pack(tmp_path)
