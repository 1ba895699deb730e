"""`chowk snapshot save|restore|inspect`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, path_of
from chowk.agent.commands.command import Failure, Group, flag
from chowk.agent.commands.output import JSON, format_flag, show_json, show_line, show_table

SNAPSHOT: Final = path_of("snapshot")
TABLE_NAMES: Final = {
    "nodes": "Node",
    "services": "Service",
    "checks": "Check",
    "entries": "ConfigEntry",
    "roots": "ConnectCARoot",
    "virtual-ips": "VirtualIP",
    "sessions": "Write",
    "changed": "Index",
    "kv": "KVS",
    "kv-tombstones": "Tombstone",
    "kv-floor": "Tombstone",
    "kv-delays": "LockDelay",
    "kv-sessions": "Session",
    "prepared-queries": "PreparedQuery",
    "outcomes": "TransactionResult",
    "coordinates": "Coordinate",
}
"""What people know the tables of a state by."""

NAME_PARTS: Final = ("version", "dc", "node", "status")

command = Group("snapshot", help="Save, restore and inspect the state of the servers.")


@command.command(
    "save",
    examples="""
    chowk snapshot save backup.snap
    chowk snapshot save -append-filename=version,dc,node,status backup.snap""",
)
@click.argument("file", metavar="FILE")
@flag(
    "--append-filename",
    default="",
    metavar="LIST",
    help="Add to the name, before its suffix: version, dc, node (of the agent that is asked), status (leader or follower).",
)
@api_flags
def save(api: ApiClient, file: str, append_filename: str) -> None:
    """Save the state of the servers to FILE, which is not touched before the whole snapshot is there and was verified.
    With -stale, as whichever server answers has it, also when nobody leads."""
    from chowk.core.archive import BadArchive, verify
    from chowk.core.runtime.files import sync_folder

    path = _with_parts(api, Path(file), append_filename) if append_filename else Path(file)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w+b") as output:
                for piece in api.download(SNAPSHOT):
                    output.write(piece)
                output.flush()
                os.fsync(output.fileno())
                output.seek(0)
                meta = verify(output)
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror or error}") from error
    except BadArchive as error:
        raise Failure(f"what the agent sent is not a whole snapshot: {error}. {path} was not written") from error
    show_line(f"Saved and verified snapshot to index {meta.index}")
    if append_filename:
        show_line(f"Saved to {path}")


def _with_parts(api: ApiClient, path: Path, names: str) -> Path:
    """`backup.snap` -> `backup-1.2.0-dc1-web-1-leader.snap`, always in that order."""
    wanted = names.split(",")
    unknown = [name for name in wanted if name not in NAME_PARTS]
    if unknown:
        raise click.UsageError(f'-append-filename: "{unknown[0]}" is none of {", ".join(NAME_PARTS)}')
    own = api.get(path_of("agent", "self"))
    config, leads = own["Config"], (own.get("Stats") or {}).get("consul", {}).get("leader") == "true"
    known = (
        own["Stats"]["build"]["version"],
        config["Datacenter"],
        config["NodeName"],
        "leader" if leads else "follower",
    )
    parts = [text for name, text in zip(NAME_PARTS, known, strict=True) if name in wanted]
    # Names come from an agent: none of them leads out of the folder.
    return path.with_name("-".join((path.stem, *parts)).replace("/", "_").replace("\0", "_") + path.suffix)


@command.command("restore", examples="chowk snapshot restore backup.snap")
@click.argument("file", metavar="FILE")
@api_flags
def restore(api: ApiClient, file: str) -> None:
    """Replace the state of all servers by that in FILE. It is verified before anything changes."""
    from chowk.core.archive import BadArchive, verify

    try:
        with Path(file).open("rb") as source:
            verify(source)
            source.seek(0)
            api.upload(SNAPSHOT, source, os.fstat(source.fileno()).st_size)
    except OSError as error:
        raise Failure(f"cannot read {file}: {error.strerror or error}") from error
    except BadArchive as error:
        raise Failure(f"{file}: {error}. Nothing was changed") from error
    show_line("Restored snapshot")


@command.command("inspect", examples="chowk snapshot inspect backup.snap")
@click.argument("file", metavar="FILE")
@format_flag
def inspect(file: str, output_format: str) -> None:
    """Show what is in FILE, after verifying it. Needs no agent."""
    from chowk.core.archive import BadArchive, TableCounter, verify

    counter = TableCounter()
    try:
        with Path(file).open("rb") as source:
            meta = verify(source, counter)
            size = os.fstat(source.fileno()).st_size
    except OSError as error:
        raise Failure(f"cannot read {file}: {error.strerror or error}") from error
    except BadArchive as error:
        raise Failure(f"{file}: {error}") from error
    tables: dict[str, tuple[int, int]] = {}
    for table, (rows, length) in counter.tables.items():
        name = TABLE_NAMES.get(table, table)
        known_rows, known_length = tables.get(name, (0, 0))
        tables[name] = (known_rows + rows, known_length + length)
    ordered = sorted(tables.items(), key=lambda each: (-each[1][1], each[0]))
    if output_format == JSON:
        stats = [{"Name": name, "Count": rows, "Sum": length} for name, (rows, length) in ordered]
        head = {"ID": meta.id, "Size": size, "Index": meta.index, "Term": meta.term, "Version": meta.version}
        show_json({"Meta": head, "Stats": stats, "TotalSize": meta.size})
        return
    show_table([["ID", meta.id], ["Size", size], ["Index", meta.index], ["Term", meta.term], ["Version", meta.version]])
    click.echo()
    lines = [[name, rows, _size(length)] for name, (rows, length) in ordered]
    show_table(
        [["Type", "Count", "Size"], ["----", "----", "----"], *lines, ["----", "----", "----"],
         ["Total", sum(rows for rows, _length in tables.values()), _size(meta.size)]]
    )  # fmt: skip


def _size(length: int) -> str:
    """1234 -> `1.2KB`."""
    amount, unit = float(length), "B"
    for larger in ("KB", "MB", "GB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{length}B" if unit == "B" else f"{amount:.1f}{unit}"
