"""`lockstep data`: write, index, inspect and check data sets, and print the order in which they are read."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.preview import SAMPLES, first_samples, sample_line

if TYPE_CHECKING:
    from workers.data.dataset import Dataset
    from workers.data.manifest import Manifest

app = typer.Typer(help="Write, index, inspect and check data sets.", no_args_is_help=True)


class Format(StrEnum):
    """What the objects of a prefix are."""

    AUTO = "auto"
    ARROW = "arrow"
    PARQUET = "parquet"
    TAR = "tar"
    MDS = "mds"
    RAW = "raw"


class Shuffle(StrEnum):
    """How an epoch is shuffled; auto decides by the size of the data set."""

    AUTO = "auto"
    GLOBAL = "global"
    WINDOWED = "windowed"


Uri = Annotated[str, typer.Argument(help="file:///folder, s3://bucket/prefix, or a plain path.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command()
def pack(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A folder, or any prefix of objects.")],
    dest: Annotated[str, typer.Argument(metavar="DEST", help="Where the data set is written.")],
    format: Annotated[
        Format, typer.Option(help="What the objects are, if SRC is not indexed.")
    ] = Format.AUTO,
    block_bytes: Annotated[int, typer.Option(min=1, help="Payload read at once, at most.")] = 4 << 20,
    shard_bytes: Annotated[int, typer.Option(min=1, help="Payload of a stored object, at most.")] = 128 << 20,
    overwrite: Annotated[bool, typer.Option(help="Replace a data set that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Pack a data set, or objects that can be indexed, into Arrow shards with checksums.

    Run again after it was interrupted, it goes on where it was.
    """
    from orchestrator.cli.progress import counting
    from workers.data.pack import pack as write
    from workers.storage import as_uri

    uri = as_uri(dest)
    with counting("samples") as progress:
        manifest = write(
            as_uri(source),
            uri,
            format=format.value,
            block_bytes=block_bytes,
            shard_bytes=shard_bytes,
            overwrite=overwrite,
            progress=progress,
        )
    _print(_summary(uri, manifest), as_json)


@app.command()
def index(
    uri: Uri,
    format: Annotated[Format, typer.Option(help="What the objects are.")] = Format.AUTO,
    checksums: Annotated[bool, typer.Option(help="Read all bytes and pin them by checksum.")] = False,
    to: Annotated[str | None, typer.Option(help="Where to write the manifest, if not beside them.")] = None,
    as_json: Json = False,
) -> None:
    """Make objects that are there already into a data set, in place."""
    from workers.data.index import index as write
    from workers.storage import as_uri

    dest = as_uri(to) if to is not None else None
    manifest = write(as_uri(uri), format=format.value, checksums=checksums, to=dest)
    _print(_summary(dest or as_uri(uri), manifest), as_json)


@app.command()
def show(
    uri: Uri,
    samples: Annotated[
        int | None,
        typer.Option(
            min=0,
            help=f"Describe so many, however large; by default {SAMPLES}, unless that takes long.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a data set is, and what its first samples look like."""
    dataset = _open(uri)
    found, missing = first_samples(dataset, samples)
    shown: list[Any] = found if as_json else [sample_line(sample) for sample in found]
    result = _summary(dataset.store.uri, dataset.manifest) | {"preview": shown}
    _print(result | ({"no_preview": missing} if missing else {}), as_json)


@app.command()
def verify(uri: Uri, as_json: Json = False) -> None:
    """Read a whole data set and compare it with its manifest. Exit code 2 if any block is damaged."""
    from workers.data.verify import verify as check
    from workers.errors import DataError

    dataset = _open(uri)
    found = check(dataset)
    _print(
        {
            "uri": dataset.store.uri,
            "digest": dataset.manifest.digest,
            "blocks": found.blocks,
            "by_checksum": found.by_checksum,
            "damage": list(found.damage),
        },
        as_json,
    )
    if found.damage and as_json:
        raise typer.Exit(DataError.exit_code)  # all is said: one object, nothing after it
    if found.damage:
        what = f"{len(found.damage)} of {found.blocks} blocks are damaged"
        fix = "restore these objects, or index or pack the data set again"
        raise DataError(what, where=dataset.store.uri, fix=fix)


@app.command()
def order(
    uris: Annotated[list[str], typer.Argument(metavar="URI...", help="One data set, or those of a mixture.")],
    seed: Annotated[int, typer.Option(help="The job's seed.")],
    vranks: Annotated[int, typer.Option(min=1, help="Virtual ranks of the job.")],
    epoch: Annotated[int | None, typer.Option(min=0, help="Counted from 0. A mixture has none.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="Of a mixture, such as 3,1; equal ones if none.")
    ] = None,
    vrank: Annotated[int | None, typer.Option(min=0, help="Of this one alone.")] = None,
    start: Annotated[int, typer.Option("--from", min=0, help="First index within a virtual rank.")] = 0,
    count: Annotated[int | None, typer.Option(min=0, help="How many of each virtual rank.")] = None,
    shuffle: Annotated[Shuffle, typer.Option(help="As in the job.")] = Shuffle.AUTO,
    window_blocks: Annotated[int, typer.Option(min=1, help="Window of a windowed shuffle.")] = 32,
    seq_len: Annotated[
        int | None, typer.Option(min=2, help="As in the job, if its samples are packed tokens.")
    ] = None,
    tokens: Annotated[
        str | None, typer.Option(help="As in the job: the column of tokens, if there are several.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the samples of an epoch, or of a mixture, in the order in which virtual ranks read them.

    Several data sets are a mixture: the epoch of a sample is then the pass over its own source, and without
    --count the lines end when every source has been used up once.

    With --seq-len, a line names the object and the number of the token in it with which a sample begins; with
    --json, all of its pieces.
    """
    from orchestrator.cli.order import Ordered, epoch_lines, mixture_lines, parse_weights
    from workers.data.order import OrderSettings, resolve_shuffle
    from workers.data.packing import choose_column, sample_rows
    from workers.errors import InputError
    from workers.protocol import Packing

    if vrank is not None and vrank >= vranks:
        raise InputError(
            f"there is no virtual rank {vrank}", where="--vrank", fix=f"name one of 0..{vranks - 1}"
        )
    chosen = range(vranks) if vrank is None else [vrank]
    sources = []
    packing = None
    for dataset in map(_open, uris):
        single_rows = dataset.manifest.single_rows
        window = resolve_shuffle(
            dataset.manifest.bytes, shuffle.value, window_blocks, single_rows=single_rows
        )
        if seq_len is not None:
            packing = Packing(column=choose_column(dataset, dataset.store.uri, tokens), length=seq_len)
        sources.append(Ordered(dataset=dataset, window_blocks=window, packing=packing))
    if len(uris) > 1:
        if epoch is not None:
            fix = "leave it out; --from and --count choose a part"
            raise InputError("a mixture is one endless stream", where="--epoch", fix=fix)
        numbers = parse_weights(weights, len(uris))
        lines = mixture_lines(
            sources, numbers, seed=seed, vranks=vranks, chosen=chosen, start=start, count=count
        )
    else:
        [source] = sources
        settings = OrderSettings(
            seed=seed, window_blocks=source.window_blocks, sample_rows=sample_rows(packing)
        )
        settled = settings.epoch(epoch or 0, source.block_rows, vranks)
        lines = epoch_lines(source, settled, chosen, start, count)
    form = "{vrank:>4} {i:>10} " + ("{source} {epoch} " if len(uris) > 1 else "") + "{object} "
    form += "{row}" if packing is None else "{token}"
    for line in lines:
        typer.echo(json.dumps(line) if as_json else form.format(**line))


def _open(uri: str) -> Dataset:
    from workers.data.dataset import Dataset
    from workers.storage import as_uri

    return Dataset.open(as_uri(uri))


def _summary(uri: str, manifest: Manifest) -> dict[str, Any]:
    values = {name: int(counts.sum()) for name, counts in manifest.values.items()}
    return {
        "uri": uri,
        "format": manifest.format,
        "samples": manifest.rows,
        "objects": len(manifest.object_names),
        "blocks": len(manifest),
        "bytes": manifest.bytes,
        "columns": {field.name: str(field.type) for field in manifest.schema},
        **({"values": values} if values else {}),
        "digest": manifest.digest,
    }


def _print(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result))
        return
    for name, value in result.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key}: {kind}" for key, kind in value.items())
        if isinstance(value, list):
            value = "".join(f"\n  {line}" for line in value) or "none"
        typer.echo(f"{name.replace('_', ' '):<12} {value}")
