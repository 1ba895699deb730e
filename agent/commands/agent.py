"""`chowk agent`: run an agent until a signal ends it. Flags are Consul's; they win over the files."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from chowk.agent.commands.command import Failure, flag
from chowk.agent.commands.command import command as make_command

EXAMPLES = """
chowk agent -dev
chowk agent -dev -config-dir ./services
chowk agent -server -bootstrap-expect=1 -data-dir=/var/lib/chowk -config-dir=/etc/chowk.d
"""

# flag -> the configuration's key, a dot meaning a block; how a flag is given follows from the option's type.
KEYS = {
    "node": "node_name",
    "node_id": "node_id",
    "datacenter": "datacenter",
    "primary_datacenter": "primary_datacenter",
    "data_dir": "data_dir",
    "server": "server",
    "bootstrap": "bootstrap",
    "bootstrap_expect": "bootstrap_expect",
    "bind": "bind_addr",
    "client": "client_addr",
    "advertise": "advertise_addr",
    "advertise_wan": "advertise_addr_wan",
    "serf_lan_bind": "serf_lan",
    "serf_wan_bind": "serf_wan",
    "serf_lan_allowed_cidrs": "serf_lan_allowed_cidrs",
    "serf_wan_allowed_cidrs": "serf_wan_allowed_cidrs",
    "segment": "segment",
    "partition": "partition",
    "read_replica": "read_replica",
    "non_voting_server": "non_voting_server",
    "check_output_max_size": "check_output_max_size",
    "domain": "domain",
    "alt_domain": "alt_domain",
    "recursor": "recursors",
    "http_port": "ports.http",
    "https_port": "ports.https",
    "dns_port": "ports.dns",
    "grpc_port": "ports.grpc",
    "grpc_tls_port": "ports.grpc_tls",
    "server_port": "ports.server",
    "serf_lan_port": "ports.serf_lan",
    "serf_wan_port": "ports.serf_wan",
    "log_level": "log_level",
    "log_json": "log_json",
    "log_file": "log_file",
    "log_rotate_bytes": "log_rotate_bytes",
    "log_rotate_duration": "log_rotate_duration",
    "log_rotate_max_files": "log_rotate_max_files",
    "syslog": "enable_syslog",
    "enable_script_checks": "enable_script_checks",
    "enable_local_script_checks": "enable_local_script_checks",
    "encrypt": "encrypt",
    "retry_join": "retry_join",
    "retry_interval": "retry_interval",
    "retry_max": "retry_max",
    "join": "start_join",
    "join_wan": "start_join_wan",
    "retry_join_wan": "retry_join_wan",
    "retry_interval_wan": "retry_interval_wan",
    "retry_max_wan": "retry_max_wan",
    "primary_gateway": "primary_gateways",
    "rejoin": "rejoin_after_leave",
    "ui": "ui_config.enabled",
    "ui_dir": "ui_dir",
    "ui_content_path": "ui_content_path",
    "pid_file": "pid_file",
    "allow_write_http_from": "http_config.allow_write_http_from",
    "disable_host_node_id": "disable_host_node_id",
    "disable_keyring_file": "disable_keyring_file",
    "protocol": "protocol",
    "raft_protocol": "raft_protocol",
    "default_query_time": "default_query_time",
    "max_query_time": "max_query_time",
    "auto_reload_config": "auto_reload_config",
}
SWITCHES = {
    "server", "bootstrap", "log_json", "syslog", "enable_script_checks", "enable_local_script_checks", "rejoin", "ui",
    "disable_host_node_id", "disable_keyring_file", "auto_reload_config",
    "read_replica", "non_voting_server",
}  # fmt: skip
REPEATED = {
    "recursor", "retry_join", "join", "allow_write_http_from", "join_wan", "retry_join_wan", "primary_gateway",
    "serf_lan_allowed_cidrs", "serf_wan_allowed_cidrs",
}  # fmt: skip
NUMBERS = {
    "bootstrap_expect", "http_port", "https_port", "dns_port", "grpc_port", "server_port", "serf_lan_port",
    "serf_wan_port", "log_rotate_bytes", "log_rotate_max_files", "retry_max", "protocol", "raft_protocol",
    "retry_max_wan", "grpc_tls_port", "check_output_max_size",
}  # fmt: skip
HELP = {
    "node": "Name of this node. Default: the host name.",
    "data_dir": "Folder of everything durable. Needed but with -dev.",
    "server": "Run a registry server too.",
    "bootstrap_expect": "How many servers make the datacenter (1).",
    "bind": "Address of the cluster's traffic.",
    "client": "Address of HTTP and DNS.",
    "http_port": "Port of the HTTP API (8500).",
    "dns_port": "Port of DNS (8600).",
    "recursor": "Address of a resolver for other names; may be repeated.",
    "log_level": "trace, debug, info, warn or error.",
    "log_json": "Log in JSON.",
}


def _config_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    for name in sorted(KEYS, reverse=True):
        option = "--check_output_max_size" if name == "check_output_max_size" else f"--{name.replace('_', '-')}"
        text = HELP.get(name, f"As `{KEYS[name]}` in a file.")
        if name in SWITCHES:
            function = flag(option, name, is_flag=True, default=None, help=text)(function)
        else:
            kind = int if name in NUMBERS else str
            function = flag(option, name, type=kind, multiple=name in REPEATED, help=text)(function)
    return function


@make_command("agent", examples=EXAMPLES)
@flag("--dev", is_flag=True, help="One agent with server, in memory, on loopback: to try things.")
@flag(
    "--config-file",
    "--config-dir",
    "config_paths",
    multiple=True,
    help="A file to read, or a folder whose .hcl and .json files are read in order; may be repeated.",
)
@flag(
    "--config-format",
    type=click.Choice(["hcl", "json"]),
    help="Read every file of a folder, whatever its ending; HCL and JSON are told apart by what is in them.",
)
@flag("--hcl", multiple=True, help="A piece of configuration, as in a file; may be repeated.")
@flag("--node-meta", multiple=True, metavar="KEY:VALUE", help="Metadata of this node; may be repeated.")
@_config_flags
def command(
    dev: bool,
    config_paths: tuple[str, ...],
    config_format: str | None,
    hcl: tuple[str, ...],
    node_meta: tuple[str, ...],
    **settings: Any,
) -> int:
    """Run an agent until Ctrl-C, SIGTERM or `chowk leave`. SIGHUP reloads the files."""
    from chowk.agent.config.build import build
    from chowk.agent.config.model import AgentConfig
    from chowk.agent.config.problems import ConfigError

    flags = given_flags(dev, node_meta, settings)

    def load() -> AgentConfig:
        return build(config_paths, (), flags, hcl=hcl, any_ending=config_format is not None)

    try:
        config = load()
    except ConfigError as error:
        raise Failure(str(error)) from None
    return run_agent(config, load)


def given_flags(dev: bool, node_meta: tuple[str, ...], settings: dict[str, Any]) -> dict[str, Any]:
    """The flags that were given, by the names of the configuration's keys, dots for blocks."""
    given: dict[str, Any] = {"dev": True} if dev else {}
    for name, value in settings.items():
        if value not in (None, ()):
            given[KEYS[name]] = list(value) if isinstance(value, tuple) else value
    if node_meta:
        given["node_meta"] = dict(_pair(text) for text in node_meta)
    return given


def _pair(text: str) -> tuple[str, str]:
    """`key:value`, as Consul has it, or `key=value`: what comes first counts."""
    separator = min((mark for mark in ":=" if mark in text), key=text.index, default=":")
    key, _, value = text.partition(separator)
    return key, value


def run_agent(config: Any, load: Callable[[], Any]) -> int:
    """Run until it ends; the exit code."""
    import uvloop

    from chowk.agent.boot import Agent
    from chowk.core.errors import ChowkError
    from chowk.core.runtime import logging
    from chowk.core.runtime.limits import raise_open_files
    from chowk.core.runtime.log_copies import copied_standard_error

    raise_open_files()  # the children inherit it
    try:
        copies = _log_copies(config)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Failure(
            f"cannot log to {getattr(error, 'filename', None) or config.log_file or 'syslog'}: {reason}"
        ) from None
    logging.configure(config.log_level, json=config.log_json, process="agent")

    async def serve() -> int:
        agent = Agent(config, load)
        agent.follow_signals()
        try:
            await agent.start()
        except (ChowkError, OSError) as error:
            click.echo(f"Error: {error.strerror or error if isinstance(error, OSError) else error}", err=True)
            await agent.close()
            return 1
        _write_pid(config.pid_file)
        click.echo(_banner(config, agent.listening()))
        sys.stdout.flush()
        try:
            await agent.run()
        finally:
            await agent.close()
            _remove_pid(config.pid_file)
        if agent.failure:
            click.echo(f"Error: {agent.failure}", err=True)
        return 1 if agent.failure else 0

    with copied_standard_error(copies), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve())


def _log_copies(config: Any) -> list[Any]:
    """Where the log goes besides standard error. OSError when that cannot be."""
    from chowk.core.runtime.log_copies import LogFile, Syslog

    copies: list[Any] = []
    rotation = config.log_rotation
    if config.log_file:
        copies.append(
            LogFile(
                config.log_file,
                bytes_max=rotation.bytes_max,
                duration_s=rotation.duration_s,
                files_max=rotation.files_max,
            )
        )
    if config.syslog_facility:
        copies.append(Syslog(config.syslog_facility))
    return copies


def _banner(config: Any, places: dict[str, str]) -> str:
    rows = {
        "Node name": f"'{config.node_name}'",
        "Datacenter": f"'{config.datacenter}'",
        "Server": f"{str(config.server).lower()} (in memory: {str(config.dev).lower()})",
        **places,
        "Services": str(len(config.services)),
    }
    lines = [f"{key:>12}: {value}" for key, value in rows.items()]
    return "\n".join(["==> chowk agent is running", *lines, ""])


def _write_pid(path: str) -> None:
    if path:
        Path(path).write_text(f"{os.getpid()}\n")


def _remove_pid(path: str) -> None:
    if path:
        Path(path).unlink(missing_ok=True)
