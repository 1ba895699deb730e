"""Each flag of Consul's commands is taken here, or has no effect and a warning; docs/cli.md says which are not."""

from __future__ import annotations

import click
import pytest

from chowk.cli import root

API = (
    "ca-file ca-path client-cert client-key datacenter http-addr namespace partition stale tls-server-name token "
    "token-file"
)
CONSULS = {
    "event": "name node service tag",
    "lock": "child-exit-code monitor-retry n name pass-stdin shell timeout try verbose",
    "kv get": "base64 detailed keys recurse separator",
    "kv put": "acquire base64 cas flags modify-index release session",
    "kv delete": "cas modify-index recurse",
    "kv export": "",
    "kv import": "prefix",
    "monitor": "log-level log-json",
    "maint": "disable enable reason service",
    "watch": "filter key name passingonly prefix service shell state tag type",
    "catalog datacenters": "",
    "catalog nodes": "detailed filter near node-meta service",
    "catalog services": "node node-meta tags",
    "services register": "address id kind meta name port tag",
    "services deregister": "id",
    "config write": "cas modify-index",
    "config read": "kind name",
    "config list": "filter kind",
    "config delete": "cas filename kind modify-index name",
    "intention create": "allow deny file meta replace",
    "intention check": "",
    "intention get": "",
    "intention list": "",
    "intention match": "destination source",
    "intention delete": "",
    "operator raft list-peers": "",
    "operator raft remove-peer": "address id",
    "operator raft transfer-leader": "id",
    "operator autopilot get-config": "",
    "operator autopilot set-config": "cleanup-dead-servers disable-upgrade-migration last-contact-threshold "
    "max-trailing-logs min-quorum redundancy-zone-tag server-stabilization-time upgrade-version-tag",
    "operator autopilot state": "format",
    "snapshot save": "append-filename",
    "snapshot restore": "",
    "keyring": "install list list-primary local-only relay-factor remove use",
    "join": "wan",
    "leave": "",
    "force-leave": "prune wan",
    "reload": "",
    "info": "",
    "members": "detailed filter segment status wan",
    "rtt": "wan",
    "debug": "archive capture duration interval output",
}
OFFLINE = {"validate": "config-format quiet", "keygen": "", "version": "format", "snapshot inspect": "format"}


def options(path: str) -> set[str]:
    command: click.Command = root
    for name in path.split():
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    return {name.lstrip("-") for param in command.params if isinstance(param, click.Option) for name in param.opts}


@pytest.mark.parametrize(("path", "flags"), CONSULS.items(), ids=CONSULS)
def test_a_command_that_asks_an_agent_takes_consuls_flags(path: str, flags: str) -> None:
    assert {*flags.split(), *API.split()} - options(path) == set()


@pytest.mark.parametrize(("path", "flags"), OFFLINE.items(), ids=OFFLINE)
def test_a_command_without_an_agent_takes_consuls_flags(path: str, flags: str) -> None:
    assert set(flags.split()) - options(path) == set()


def test_a_flag_of_the_enterprise_edition_has_no_effect_and_says_so(agent, run) -> None:
    agent.on("PUT", "/v1/operator/autopilot/configuration", True)
    code, _out, err = run("operator", "autopilot", "set-config", "-min-quorum=3", "-redundancy-zone-tag=zone")
    assert (code, "redundancy-zone-tag has no effect" in err) == (0, True)
    assert agent.last.body == {"MinQuorum": 3}
