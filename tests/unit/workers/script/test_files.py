from __future__ import annotations

from workers.script.files import StreamFile


def test_a_file_grows_to_its_limit_and_is_put_aside_once(tmp_path):
    path = tmp_path / "a" / "rank-0.out"
    with StreamFile(path, bytes_max=11) as file:
        for word in (b"one\n", b"two\n", b"three\n", b"four\n", b"five\n"):
            file.write(word)
    assert path.read_bytes() == b"five\n"
    assert path.with_name("rank-0.out.1").read_bytes() == b"three\nfour\n"
    assert sorted(each.name for each in path.parent.iterdir()) == ["rank-0.out", "rank-0.out.1"]


def test_a_file_that_is_there_is_appended_to(tmp_path):
    for word in (b"one\n", b"two\n"):
        with StreamFile(tmp_path / "x") as file:
            file.write(word)
    assert (tmp_path / "x").read_bytes() == b"one\ntwo\n"


def test_a_full_disk_does_not_end_the_program(tmp_path):
    path = tmp_path / "x"
    path.symlink_to("/dev/full")
    with StreamFile(path) as file:
        file.write(b"one\n")
        file.write(b"two\n")
