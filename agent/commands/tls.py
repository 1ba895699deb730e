"""`chowk tls ca create` and `chowk tls cert create`: certificates for the HTTPS API, in files named as Consul names them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from chowk.agent.commands.command import Failure, Group, flag
from chowk.agent.commands.command import command as make_command

DAYS_MAX = 36_500
_SERVER_WARNING = """==> WARNING: who has this certificate's key can pass for an agent's
    HTTPS API, and is told the tokens that clients send there. Give it
    to the hosts that are named in it only."""

command = Group("tls", help="Make certificates for the HTTPS API.")
ca = Group("ca", help="Make a certificate authority.")
cert = Group("cert", help="Make certificates of the authority.")
command.add_command(ca)
command.add_command(cert)


@make_command("create", examples="chowk tls ca create\nchowk tls ca create -domain=example -days=3650 -name-constraint")
@flag("--domain", default="consul", metavar="DOMAIN", help="The agents' DNS domain.")
@flag("--days", type=click.IntRange(1, DAYS_MAX), default=1825, help="How long the authority is valid.")
@flag("--common-name", default="", metavar="NAME", help="The authority's own name.")
@flag("--cluster-id", default="", metavar="ID", help="Put the SPIFFE id of this cluster into the certificate.")
@flag("--name-constraint", is_flag=True, help="It may sign names of the domain and localhost only.")
@flag(
    "--additional-name-constraint", multiple=True, metavar="DOMAIN", help="A domain more that it may sign; repeatable."
)
def ca_create(
    domain: str,
    days: int,
    common_name: str,
    cluster_id: str,
    name_constraint: bool,
    additional_name_constraint: tuple[str, ...],
) -> None:
    """Write an authority: DOMAIN-agent-ca.pem and DOMAIN-agent-ca-key.pem, in the current folder."""
    from chowk.agent.commands.tls_files import make_authority

    if additional_name_constraint and not name_constraint:
        raise Failure("-additional-name-constraint needs -name-constraint")
    _check_names(domain)
    constraints = (domain, "localhost", *additional_name_constraint) if name_constraint else ()
    pair = make_authority(domain, days, common_name=common_name, cluster_id=cluster_id, constraints=constraints)
    _save(f"{domain}-agent-ca.pem", f"{domain}-agent-ca-key.pem", pair)


@make_command(
    "create",
    examples="chowk tls cert create -server\nchowk tls cert create -client -dc=dc2 -additional-ipaddress=10.0.0.5",
)
@flag("--server", is_flag=True, help="A server's, for server.DC.DOMAIN.")
@flag("--client", is_flag=True, help="A client agent's, for client.DC.DOMAIN.")
@flag("--cli", is_flag=True, help="A command line's, which only shows it, as cli.DC.DOMAIN.")
@flag("--ca", "ca_file", default="", metavar="FILE", help="The authority. Default: DOMAIN-agent-ca.pem.")
@flag("--key", "key_file", default="", metavar="FILE", help="Its key. Default: DOMAIN-agent-ca-key.pem.")
@flag("--days", type=click.IntRange(1, DAYS_MAX), default=365, help="How long the certificate is valid.")
@flag("--domain", default="consul", metavar="DOMAIN", help="The agents' DNS domain.")
@flag("--dc", default="dc1", metavar="NAME", help="The datacenter.")
@flag("--node", default="", metavar="NAME", help="With -server: also for NAME.server.DC.DOMAIN.")
@flag("--additional-dnsname", multiple=True, metavar="NAME", help="A DNS name more; repeatable.")
@flag("--additional-ipaddress", multiple=True, metavar="IP", help="An IP address more; repeatable.")
def cert_create(
    server: bool,
    client: bool,
    cli: bool,
    ca_file: str,
    key_file: str,
    days: int,
    domain: str,
    dc: str,
    node: str,
    additional_dnsname: tuple[str, ...],
    additional_ipaddress: tuple[str, ...],
) -> None:
    """Write a certificate, DC-KIND-DOMAIN-N.pem, and its key, DC-KIND-DOMAIN-N-key.pem, in the current folder."""
    from chowk.agent.commands.tls_files import BadFile, make_certificate

    kinds = [name for name, given in (("server", server), ("client", client), ("cli", cli)) if given]
    if len(kinds) != 1:
        raise Failure("Please provide either -server, -client, or -cli")
    if node and not server:
        raise Failure("-node requires -server")
    _check_names(domain, dc, *((node,) if node else ()))
    kind = kinds[0]
    ca_file, key_file = ca_file or f"{domain}-agent-ca.pem", key_file or f"{domain}-agent-ca-key.pem"
    own = [f"{kind}.{dc}.{domain}", *([f"{node}.server.{dc}.{domain}"] if node else []), "localhost"]
    if server:
        click.echo(_SERVER_WARNING)
    try:
        pair = make_certificate(
            _read(ca_file),
            _read(key_file),
            [*own, *additional_dnsname],
            [*([] if cli else ["127.0.0.1"]), *additional_ipaddress],
            days,
            listens=not cli,
        )
    except BadFile as error:
        raise Failure(f"{ca_file}, {key_file}: {error}") from None
    click.echo(f"==> Using {ca_file} and {key_file}")
    name = next(
        name
        for number in range(10**6)
        if not Path(f"{(name := f'{dc}-{kind}-{domain}-{number}')}.pem").exists()
        and not Path(f"{name}-key.pem").exists()
    )
    _save(f"{name}.pem", f"{name}-key.pem", pair)


ca.add_command(ca_create)
cert.add_command(cert_create)


def _check_names(*names: str) -> None:
    for name in names:
        if not name or not all(part and part.replace("-", "").replace("_", "").isalnum() for part in name.split(".")):
            raise Failure(f'"{name}" is no name: use letters, digits, dashes and dots')


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror} (make an authority with `chowk tls ca create`)") from None


def _save(cert_name: str, key_name: str, pair: Any) -> None:
    """Write both, neither over a file that is there: it may be the only copy of a key."""
    for name in (cert_name, key_name):
        if Path(name).exists():
            raise Failure(f"{name} already exists.")
    for name, data, mode in ((cert_name, pair.certificate, 0o644), (key_name, pair.key, 0o600)):
        try:
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        except OSError as error:
            raise Failure(f"cannot write {name}: {error.strerror}") from None
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        click.echo(f"==> Saved {name}")
