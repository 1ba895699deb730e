"""The `chowk` command: a table of commands, each imported only when it is used. Called by the console script.

Everything but `agent`, `validate`, `version` and `keygen` talks HTTP with a running agent.
"""

from __future__ import annotations

import os
import sys

import click

from chowk.agent.commands.command import Entry, Failure, LazyGroup

_ROOM = "chowk.agent.commands"
COMMANDS = {
    "agent": Entry(f"{_ROOM}.agent", "Run an agent: `-dev` needs nothing else."),
    "catalog": Entry(f"{_ROOM}.catalog", "List datacenters, nodes and services of the catalog."),
    "config": Entry(f"{_ROOM}.config_entries", "Write, read, list and delete config entries."),
    "connect": Entry(f"{_ROOM}.connect", "The mesh: run a sidecar proxy, look after the certificate authority."),
    "debug": Entry(f"{_ROOM}.debug", "Gather what helps to understand an agent into one archive."),
    "event": Entry(f"{_ROOM}.event", "Fire a user event."),
    "force-leave": Entry(f"{_ROOM}.force_leave", "Make a failed member leave the cluster."),
    "info": Entry(f"{_ROOM}.info", "Show the counters of the agent."),
    "intention": Entry(f"{_ROOM}.intention", "Say which service may call which."),
    "join": Entry(f"{_ROOM}.join", "Tell the agent to join a cluster."),
    "keygen": Entry(f"{_ROOM}.keygen", "Make a key for encrypting gossip."),
    "keyring": Entry(f"{_ROOM}.keyring", "Look after the keys that encrypt gossip."),
    "kv": Entry(f"{_ROOM}.kv", "Read, write and delete keys."),
    "leave": Entry(f"{_ROOM}.leave", "Make the agent leave its cluster and stop."),
    "lock": Entry(f"{_ROOM}.lock", "Run a command while holding a lock."),
    "maint": Entry(f"{_ROOM}.maint", "Take this node or one of its services out of rotation, and back."),
    "members": Entry(f"{_ROOM}.members", "List the members of the cluster."),
    "monitor": Entry(f"{_ROOM}.monitor", "Show the agent's log as it is written."),
    "operator": Entry(f"{_ROOM}.operator", "Tools for those who run the servers."),
    "reload": Entry(f"{_ROOM}.reload", "Make the agent read its configuration again."),
    "rtt": Entry(f"{_ROOM}.rtt", "Estimate the network round-trip time between two nodes."),
    "services": Entry(f"{_ROOM}.services", "Register and deregister services of this agent."),
    "snapshot": Entry(f"{_ROOM}.snapshot", "Save, restore and inspect the state of the servers."),
    "stat": Entry(f"{_ROOM}.stat", "Show success, rate and latency of the mesh's edges on this host."),
    "tap": Entry(f"{_ROOM}.tap", "Show live requests that pass this host's sidecars."),
    "tls": Entry(f"{_ROOM}.tls", "Make certificates for the HTTPS API."),
    "top": Entry(f"{_ROOM}.top", "Show the mesh's edges on this host, live."),
    "validate": Entry(f"{_ROOM}.validate", "Check configuration files without running an agent."),
    "version": Entry(f"{_ROOM}.version", "Show the version."),
    "watch": Entry(f"{_ROOM}.watch", "Show a part of the registry, or run a command each time it changes."),
}


_NO_ACCESS_CONTROL = "access control is not there yet; docs/security.md says what protects an agent meanwhile"
ABSENT = {
    **dict.fromkeys(("acl", "login", "logout"), _NO_ACCESS_CONTROL),
    **dict.fromkeys(("peering", "partition", "namespace"), "there is one cluster, and one namespace in it"),
    "exec": "nothing is run on other hosts",
    "license": "there is nothing to license",
}
"""Commands of Consul's that people may type."""


def _show_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from chowk import __version__

        click.echo(f"chowk v{__version__}")
        ctx.exit()


root = LazyGroup(
    name="chowk",
    entries=COMMANDS,
    absent=ABSENT,
    help="Service registry, health checks, DNS and mesh, in one daemon a host.",
    epilog="`chowk COMMAND -help` shows a command's flags and examples. Flags take one dash or two.",
    params=[
        click.Option(
            ["--version", "-version", "-v"], is_flag=True, is_eager=True, expose_value=False, callback=_show_version,
            help="Show the version and exit.",
        )
    ],
)  # fmt: skip


def main() -> None:
    """Run the command line of this process, and exit: 0, or 1 when it failed (some commands know more codes)."""
    sys.exit(run(sys.argv[1:]))


def run(args: list[str]) -> int:
    """Run one command line and return its exit code; errors are written to standard error."""
    color = False if os.environ.get("NO_COLOR") else None
    try:
        code = root.main(args, prog_name="chowk", standalone_mode=False, color=color)
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        from chowk.agent.commands.output import printable

        lines = error.format_message().splitlines()
        click.echo("Error: " + "\n".join(printable(line) for line in lines), err=True)
        return error.code if isinstance(error, Failure) else 1
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`chowk … | head`): there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code if isinstance(code, int) else 0
