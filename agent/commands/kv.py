"""`chowk kv get|put|delete|import|export`."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

import click

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient
from chowk.agent.commands.command import Command, Failure, Group, flag
from chowk.agent.commands.kv_client import (
    Pair,
    decode_base64,
    delete_key,
    get_found,
    get_pairs,
    read_value,
    write_key,
)  # fmt: skip
from chowk.agent.commands.output import printable, show_line

LABEL_CHARS = 17

command = Group("kv", help="Read, write and delete keys.")


@command.command(
    "get",
    examples="""
    chowk kv get redis/config/connections
    chowk kv get -detailed redis/config/connections
    chowk kv get -recurse redis/
    chowk kv get -keys -separator=/ redis/""",
)
@click.argument("key", default="")
@flag("--base64", "as_base64", is_flag=True, help="Show values as base64.")
@flag("--detailed", is_flag=True, help="Show everything that is known of a key.")
@flag("--keys", is_flag=True, help="Show the names of the keys that begin with KEY.")
@flag("--recurse", is_flag=True, help="Show all keys that begin with KEY, with their values.")
@flag("--separator", default="/", metavar="TEXT", help="With -keys: show names up to this, once each.")
@api_flags
def get(api: ApiClient, key: str, as_base64: bool, detailed: bool, keys: bool, recurse: bool, separator: str) -> None:
    """Show the value of KEY."""
    if keys:
        for name in get_found(api, key, {"keys": "1", "separator": separator})[0]:
            show_line(name)
        return
    if not key and not recurse:
        raise click.UsageError("Missing KEY argument")
    pairs, _index = get_pairs(api, key, {"recurse": "1"} if recurse else None)
    if not pairs and not recurse:
        _fail(f"No key exists at: {key}")
    for number, pair in enumerate(pairs):
        value = base64.b64encode(pair.value) if as_base64 else pair.value
        if detailed:
            if number:
                click.echo()
            _show_detailed(pair, value)
        else:
            _show(pair.key.encode() + b":" + value if recurse else value)


class PutCommand(Command):
    """A value may be any text: a negative number, a certificate."""

    free_arguments = True


@command.command(
    "put",
    cls=PutCommand,
    examples="""
    chowk kv put redis/config/connections 5
    chowk kv put redis/config @config.json
    echo -n secret | chowk kv put app/secret -
    chowk kv put -cas -modify-index=844 redis/config/connections 6
    chowk kv put -acquire -session=… leader host1""",
)
@click.argument("key")
@click.argument("value", default="")
@flag("--acquire", is_flag=True, help="Take the key's lock for -session.")
@flag("--release", is_flag=True, help="Let go of the key's lock that -session holds.")
@flag("--session", default="", metavar="ID", help="The session, for -acquire and -release.")
@flag("--base64", "is_base64", is_flag=True, help="VALUE is base64.")
@flag("--cas", is_flag=True, help="Write only if the key was not changed since -modify-index (0: if there is none).")
@flag("--modify-index", type=click.IntRange(0), default=0, metavar="INDEX", help="The index for -cas.")
@flag("--flags", type=click.IntRange(0, 2**64 - 1), default=0, metavar="NUMBER", help="A number to keep with the key.")
@api_flags
def put(
    api: ApiClient,
    key: str,
    value: str,
    acquire: bool,
    release: bool,
    session: str,
    is_base64: bool,
    cas: bool,
    modify_index: int,
    flags: int,
) -> None:
    """Write VALUE to KEY: a text, `@` and the name of a file, or `-` for standard input."""
    if acquire + release + cas > 1:
        raise click.UsageError("only one of -acquire, -release and -cas")
    if (acquire or release) and not session:
        raise click.UsageError(f"Missing -session (required with {'-acquire' if acquire else '-release'})")
    if modify_index and not cas:
        raise click.UsageError("-modify-index needs -cas")
    data = read_value(value)
    query = {"flags": str(flags) if flags else None}
    if acquire or release:
        query["acquire" if acquire else "release"] = session
    elif cas:
        query["cas"] = str(modify_index)
    done = write_key(api, key, decode_base64(data) if is_base64 else data, query)
    if acquire:
        _tell(done, f"Lock acquired on: {key}", "Did not acquire lock")
    elif release:
        _tell(done, f"Lock released on: {key}", "Did not release lock")
    else:
        _tell(done, f"Data written to: {key}", f"Did not write to {key}: CAS failed")


@command.command(
    "delete",
    examples="""
    chowk kv delete redis/config/connections
    chowk kv delete -recurse redis/
    chowk kv delete -cas -modify-index=844 redis/config/connections""",
)
@click.argument("key", default="")
@flag("--recurse", is_flag=True, help="Delete all keys that begin with KEY.")
@flag("--cas", is_flag=True, help="Delete only if the key was not changed since -modify-index.")
@flag("--modify-index", type=click.IntRange(0), default=0, metavar="INDEX", help="The index for -cas.")
@api_flags
def delete(api: ApiClient, key: str, recurse: bool, cas: bool, modify_index: int) -> None:
    """Delete KEY."""
    if not key and not recurse:
        raise click.UsageError("Missing KEY argument")
    if recurse and cas:
        raise click.UsageError("only one of -recurse and -cas")
    if bool(modify_index) != cas:
        raise click.UsageError("-cas and -modify-index need each other")
    done = delete_key(api, key, {"recurse": "1"} if recurse else {"cas": str(modify_index)} if cas else None)
    if recurse:
        _tell(done, f"Deleted keys with prefix: {key}", f"Did not delete keys with prefix: {key}")
    else:
        _tell(done, f"Deleted key: {key}", f"Did not delete key {key}: CAS failed")


@command.command("export", examples="chowk kv export\nchowk kv export vault/ > vault.json")
@click.argument("prefix", default="")
@api_flags
def export(api: ApiClient, prefix: str) -> None:
    """Write all keys that begin with PREFIX as JSON: a list of keys with flags and base64 values."""
    rows = [
        {"key": row["Key"], "flags": row["Flags"], "value": row["Value"] or ""}
        for row in get_found(api, prefix, {"recurse": "1"})[0]
    ]
    click.echo(json.dumps(rows, indent="\t"))


@command.command(
    "import",
    examples="chowk kv import @vault.json\nchowk kv import -prefix=staging/ @vault.json\ncat a.json | chowk kv import -",
)
@click.argument("data", default="-")
@flag("--prefix", default="", metavar="PREFIX", help="Write every key under this.")
@api_flags
def import_keys(api: ApiClient, data: str, prefix: str) -> None:
    """Write the keys of an export: DATA is `@` and the name of a file, `-` for standard input, or the JSON itself."""
    for key, flags, value in list(_exported(read_value(data))):
        name = prefix + key
        write_key(api, name, value, {"flags": str(flags) if flags else None})
        show_line(f"Imported: {name}")


def _exported(data: bytes) -> Iterable[tuple[str, int, bytes]]:
    try:
        rows = json.loads(data)
    except ValueError as error:
        raise Failure(f"cannot read the keys: not JSON: {error}") from error
    if not isinstance(rows, list):
        raise Failure("cannot read the keys: an export is a list")
    for number, row in enumerate(rows, 1):
        match row:
            case {"key": str(key), "value": str(value), **rest} if key:
                flags: Any = rest.get("flags", 0)
                if not isinstance(flags, int) or not 0 <= flags < 2**64:
                    raise Failure(f"key {number} ({printable(key)}): flags are a number of 64 bits")
                yield key, flags, decode_base64(value.encode())
            case _:
                raise Failure(f"key {number} of the export has no key or no value")


def _show_detailed(pair: Pair, value: bytes) -> None:
    for label, text in (
        ("CreateIndex", str(pair.create_index)),
        ("Flags", str(pair.flags)),
        ("Key", pair.key),
        ("LockIndex", str(pair.lock_index)),
        ("ModifyIndex", str(pair.modify_index)),
        ("Session", pair.session or "-"),
    ):
        show_line(f"{label:<{LABEL_CHARS}}{text}")
    _show(f"{'Value':<{LABEL_CHARS}}".encode() + value)


def _show(data: bytes) -> None:
    """One line: exact bytes for a pipe or a file; for a terminal without what could steer it."""
    if sys.stdout.isatty():
        click.echo("\n".join(printable(line) for line in data.decode(errors="replace").split("\n")))
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(data + b"\n")
    sys.stdout.buffer.flush()


def _tell(done: bool, success: str, failure: str) -> None:
    if not done:
        _fail(failure)
    show_line(f"Success! {success}")


def _fail(text: str) -> NoReturn:
    """In Consul's words, for scripts that look for them."""
    click.echo(f"Error! {printable(text)}", err=True)
    raise click.exceptions.Exit(1)
