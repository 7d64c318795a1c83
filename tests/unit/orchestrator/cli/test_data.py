"""`lockstep data`, as people and scripts call it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from orchestrator.cli.data import app
from tests.support.datasets import number_set, raw_files, token_set
from workers.errors import DataError, InputError


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def answer(*arguments: object) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(call(*arguments, "--json").stdout)
    return parsed


def order(folder: Path, *arguments: object) -> list[dict[str, Any]]:
    common = ("order", folder, "--seed", 5, "--epoch", 2, "--vranks", 3, "--json")
    return [json.loads(line) for line in call(*common, *arguments).stdout.splitlines()]


def test_plain_paths_are_packed_shown_and_verified(tmp_path: Path) -> None:
    raw_files(tmp_path / "source", [b"x" * n for n in range(40)])
    packed = answer("pack", tmp_path / "source", tmp_path / "a set")
    shown = answer("show", tmp_path / "a set", "--samples", 1)
    [sample] = shown.pop("preview")
    assert sample["columns"]["key"]["text"] == "00000.bin"
    assert packed == shown
    assert packed["uri"] == (tmp_path / "a set").as_uri()
    assert (packed["format"], packed["samples"], packed["objects"]) == ("arrow", 40, 1)
    assert packed["columns"] == {"key": "string", "data": "large_binary"}
    checked = answer("verify", tmp_path / "a set")
    assert (checked["damage"], checked["by_checksum"]) == ([], checked["blocks"])
    assert f"digest       {packed['digest']}" in call("show", tmp_path / "a set").stdout


def test_the_first_samples_are_shown(tmp_path: Path) -> None:
    raw_files(tmp_path, [b"some words", b"", b"\x00\xff"])
    call("index", tmp_path)
    lines = call("show", tmp_path).stdout.splitlines()
    assert lines[lines.index("preview      ") + 1 :] == [
        "  00000.bin row 0: key: string '00000.bin', data: large_binary of 10 B 'some words'",
        "  00001.bin row 0: key: string '00001.bin', data: large_binary of 0 B ''",
        "  00002.bin row 0: key: string '00002.bin', data: large_binary of 2 B 0x00ff",
    ]
    assert len(answer("show", tmp_path)["preview"]) == 3
    assert answer("show", tmp_path, "--samples", 0)["preview"] == []


def test_what_cannot_be_previewed_is_shown_without_and_says_why(tmp_path: Path) -> None:
    raw_files(tmp_path, [b"x" * 100])
    call("index", tmp_path)
    (tmp_path / "00000.bin").unlink()
    shown = answer("show", tmp_path)
    assert (shown["samples"], shown["preview"]) == (1, [])
    assert "00000.bin" in shown["no_preview"]


def test_what_takes_long_is_previewed_only_when_asked_for(tmp_path: Path) -> None:
    raw_files(tmp_path, [b"x" * (33 << 20), b"y"])
    call("index", tmp_path)
    assert "ask with --samples" in answer("show", tmp_path)["no_preview"]
    [sample] = answer("show", tmp_path, "--samples", 1)["preview"]
    assert sample["columns"]["data"]["bytes"] == 33 << 20


def test_packing_over_a_data_set_needs_a_flag(tmp_path: Path) -> None:
    raw_files(tmp_path / "source", [b"x"])
    call("pack", tmp_path / "source", tmp_path / "set")
    with pytest.raises(DataError, match="--overwrite"):
        call("pack", tmp_path / "source", tmp_path / "set")
    assert call("pack", tmp_path / "source", tmp_path / "set", "--overwrite").exit_code == 0


def test_an_indexed_folder_says_whether_it_has_checksums(tmp_path: Path) -> None:
    raw_files(tmp_path, [b"x", b"y"])
    assert answer("index", tmp_path)["format"] == "raw"
    assert answer("verify", tmp_path)["by_checksum"] == 0
    call("index", tmp_path, "--checksums")
    assert answer("verify", tmp_path)["by_checksum"] == 2


def test_damage_is_printed_and_ends_with_exit_code_2(tmp_path: Path) -> None:
    number_set(tmp_path, 100, shard_bytes=10**6)
    shard = tmp_path / "shard-00000.arrow"
    shard.write_bytes(shard.read_bytes()[:-2000])
    result = call("verify", tmp_path, "--json")
    assert result.exit_code == 2
    damage = json.loads(result.stdout)["damage"]
    assert damage
    assert all("shard-00000.arrow at byte" in message for message in damage)
    with pytest.raises(DataError, match=r"\d+ of \d+ blocks are damaged"):
        call("verify", tmp_path)


@pytest.mark.parametrize("shuffle", ["auto", "windowed"])
def test_the_printed_order_holds_every_sample_once(tmp_path: Path, shuffle: str) -> None:
    dataset = number_set(tmp_path, 100)
    lines = order(tmp_path, "--shuffle", shuffle, "--window-blocks", 2)
    assert all(list(line) == ["epoch", "vrank", "i", "object", "row"] for line in lines)
    assert {line["epoch"] for line in lines} == {2}
    assert [(line["vrank"], line["i"]) for line in lines] == [
        (vrank, i) for vrank, count in enumerate([33, 33, 34]) for i in range(count)
    ]
    addresses = {(line["object"], line["row"]) for line in lines}
    sizes = dict.fromkeys(dataset.manifest.object_names.to_pylist(), 0)
    for block in map(dataset.manifest.block, range(len(dataset.manifest))):
        sizes[block.object] += block.rows
    assert addresses == {(name, row) for name, rows in sizes.items() for row in range(rows)}


def test_a_part_of_the_order_is_the_same_part_of_the_whole(tmp_path: Path) -> None:
    number_set(tmp_path, 100)
    whole = [line for line in order(tmp_path) if line["vrank"] == 1]
    assert order(tmp_path, "--vrank", 1, "--from", 7, "--count", 9) == whole[7:16]
    assert order(tmp_path, "--vrank", 1, "--from", 30) == whole[30:]
    assert order(tmp_path, "--vrank", 1, "--from", 1000) == []
    with pytest.raises(InputError, match=r"name one of 0\.\.2"):
        order(tmp_path, "--vrank", 3)


def test_the_order_of_a_mixture_names_sources_and_their_passes(tmp_path: Path) -> None:
    sets = [number_set(tmp_path / f"{rows}", rows) for rows in (40, 10)]
    common = ("--seed", 5, "--vranks", 3, "--weights", "3,1")
    called = call("order", tmp_path / "40", tmp_path / "10", *common, "--json")
    lines = [json.loads(line) for line in called.stdout.splitlines()]
    assert all(list(line) == ["epoch", "vrank", "i", "source", "object", "row"] for line in lines)
    for dataset in sets:
        found = [line for line in lines if line["source"] == dataset.store.uri]
        first = [(line["object"], line["row"]) for line in found if line["epoch"] == 0]
        assert len(first) == len(set(first)) == dataset.rows
    assert len(lines) == 3 * len({line["i"] for line in lines})
    assert sum(line["source"] == sets[0].store.uri for line in lines) / len(lines) == pytest.approx(
        3 / 4, abs=0.03
    )
    part = call(
        "order", tmp_path / "40", tmp_path / "10", *common, "--vrank", 1, "--from", 4, "--count", 3, "--json"
    )
    assert [json.loads(line) for line in part.stdout.splitlines()] == [
        line for line in lines if line["vrank"] == 1 and 4 <= line["i"] < 7
    ]
    text = call("order", tmp_path / "40", tmp_path / "10", *common).stdout.splitlines()
    assert len(text) == len(lines)


@pytest.mark.parametrize("shuffle", ["global", "windowed"])
def test_the_order_of_packed_samples_names_all_their_pieces(tmp_path: Path, shuffle: str) -> None:
    dataset = token_set(tmp_path, [7, 0, 90, 33, 200, 1] * 10)
    assert answer("show", tmp_path, "--samples", 0)["values"] == {"tokens": 3310}
    lines = order(tmp_path, "--seq-len", 16, "--shuffle", shuffle, "--window-blocks", 2)
    assert len(lines) == 3310 // 16
    pieces = [piece for line in lines for piece in line["pieces"]]
    assert {sum(piece["tokens"] for piece in line["pieces"]) for line in lines} == {16}
    assert all(line["pieces"][0].items() >= {(k, line[k]) for k in ("object", "token")} for line in lines)
    seen = {(p["object"], n) for p in pieces for n in range(p["token"], p["token"] + p["tokens"])}
    assert len(seen) == 16 * len(lines)
    manifest = dataset.manifest
    sizes = dict.fromkeys(manifest.object_names.to_pylist(), 0)
    for number, count in enumerate(manifest.values["tokens"].tolist()):
        sizes[manifest.block(number).object] += count
    assert seen <= {(name, n) for name, count in sizes.items() for n in range(count)}
    text = call("order", tmp_path, "--seed", 5, "--vranks", 3, "--epoch", 2, "--seq-len", 16)
    assert len(text.stdout.splitlines()) == len(lines)
    with pytest.raises(DataError, match="there is no column other"):
        order(tmp_path, "--seq-len", 16, "--tokens", "other")


def test_the_order_of_a_packed_mixture(tmp_path: Path) -> None:
    token_set(tmp_path / "a", [50] * 20)
    token_set(tmp_path / "b", [30] * 10)
    command = ("order", tmp_path / "a", tmp_path / "b", "--seed", 5, "--vranks", 2, "--seq-len", 16, "--json")
    lines = [json.loads(line) for line in call(*command).stdout.splitlines()]
    for name, rows in (("a", 1000 // 16), ("b", 300 // 16)):
        found = [x for x in lines if x["source"] == (tmp_path / name).as_uri() and x["epoch"] == 0]
        assert len(found) == rows
        assert len({(x["object"], x["token"]) for x in found}) == rows


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--weights", "3"), "'3' is not a weight for each of 2 data sets"),
        (("--weights", "3,x"), "'3,x' is not a weight"),
        (("--weights", "3,0"), "'3,0' is not a weight"),
        (("--epoch", 1), "a mixture is one endless stream"),
    ],
)
def test_what_a_mixture_cannot_be_is_refused(
    tmp_path: Path, arguments: tuple[object, ...], message: str
) -> None:
    for name in ("a", "b"):
        number_set(tmp_path / name, 5)
    with pytest.raises(InputError, match=message):
        call("order", tmp_path / "a", tmp_path / "b", "--seed", 0, "--vranks", 2, *arguments)


def test_the_command_line_loads_nothing_heavy() -> None:
    heavy = {"torch", "ray", "pyarrow", "numpy", "boto3", "obstore", "pydantic"}
    code = f"import sys, orchestrator.cli.data; print(sorted(set(sys.modules) & {heavy}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
