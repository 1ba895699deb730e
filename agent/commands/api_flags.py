"""The flags of every command that talks with an agent, and the environment behind them. Called by those commands.

`CHOWK_*` wins over `CONSUL_*`, a flag over both.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from chowk.agent.commands.client import DEFAULT_ADDRESS, ApiClient, parse_address
from chowk.agent.commands.command import Failure, flag

TOKEN_BYTES_MAX: Final = 4096


def _from(name: str) -> list[str]:
    return [f"CHOWK_{name}", f"CONSUL_{name}"]


_FLAGS = (
    flag("--http-addr", default=DEFAULT_ADDRESS, envvar=_from("HTTP_ADDR"), metavar="ADDRESS",
         help="The agent: host:port, http://…, https://… or unix://path. Also CHOWK_HTTP_ADDR."),
    flag("--token", default="", envvar=_from("HTTP_TOKEN"), metavar="TOKEN", help="The ACL token. Also CHOWK_HTTP_TOKEN."),
    flag("--token-file", default="", envvar=_from("HTTP_TOKEN_FILE"), metavar="FILE",
         help="A file that holds the token. Also CHOWK_HTTP_TOKEN_FILE."),
    flag("--ca-file", default="", envvar=_from("CACERT"), metavar="FILE",
         help="Certificates to trust for https. Also CHOWK_CACERT."),
    flag("--ca-path", default="", envvar=_from("CAPATH"), metavar="DIR",
         help="A folder of certificates to trust for https. Also CHOWK_CAPATH."),
    flag("--client-cert", default="", envvar=_from("CLIENT_CERT"), metavar="FILE",
         help="A certificate to show the agent. Also CHOWK_CLIENT_CERT."),
    flag("--client-key", default="", envvar=_from("CLIENT_KEY"), metavar="FILE",
         help="The key of that certificate. Also CHOWK_CLIENT_KEY."),
    flag("--tls-server-name", default="", envvar=_from("TLS_SERVER_NAME"), metavar="NAME",
         help="The name to expect in the agent's certificate. Also CHOWK_TLS_SERVER_NAME."),
    flag("--datacenter", default="", metavar="NAME", help="The datacenter to ask; the agent's own otherwise."),
    flag("--stale", is_flag=True, help="Let any server answer, also one that is behind."),
    flag("--namespace", "--ns", "namespace", default="", envvar=_from("NAMESPACE"), hidden=True),
    flag("--partition", "--ap", "partition", default="", envvar=_from("PARTITION"), hidden=True),
    click.option("--http-auth", default="", hidden=True, envvar=_from("HTTP_AUTH")),
    click.option("--http-ssl", is_flag=True, hidden=True, envvar=_from("HTTP_SSL")),
    click.option("--http-ssl-verify", type=bool, default=True, hidden=True, envvar=_from("HTTP_SSL_VERIFY")),
)  # fmt: skip


def api_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags, and hand the function an `api: ApiClient` instead."""

    @functools.wraps(function)
    @click.pass_context
    def with_api(
        ctx: click.Context, /, *, http_addr: str, token: str, token_file: str, datacenter: str, stale: bool, **rest: Any
    ) -> Any:
        for name, plural in (("namespace", "namespaces"), ("partition", "partitions")):
            if (asked := rest.pop(name)) not in ("", "default"):
                raise Failure(f'there are no {plural}: -{name}="{asked}" can only be "default"')
        address = parse_address(http_addr, tls=rest.pop("http_ssl"))
        tls = {name: rest.pop(name) for name in ("ca_file", "ca_path", "client_cert", "client_key", "http_ssl_verify")}
        if token_file and ctx.get_parameter_source("token") != ParameterSource.COMMANDLINE:
            token = _read_token(token_file)
        api = ApiClient(
            address,
            token=token,
            context=_tls_context(**tls) if address.scheme == "https" else None,
            server_name=rest.pop("tls_server_name"),
            basic=rest.pop("http_auth"),
            query={**({"dc": datacenter} if datacenter else {}), **({"stale": "1"} if stale else {})},
        )
        return function(api=api, **rest)

    wrapped: Callable[..., Any] = with_api
    for add in reversed(_FLAGS):
        wrapped = add(wrapped)
    return wrapped


def _read_token(path: str) -> str:
    try:
        with Path(path).open() as file:
            return file.read(TOKEN_BYTES_MAX).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"cannot read the token file {path}: {_reason(error)}") from error


def _tls_context(
    *, ca_file: str, ca_path: str, client_cert: str, client_key: str, http_ssl_verify: bool
) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file or None, capath=ca_path or None)
        if client_cert:
            context.load_cert_chain(client_cert, client_key or None)
    except (OSError, ssl.SSLError) as error:
        names = ", ".join(name for name in (ca_file, ca_path, client_cert, client_key) if name)
        raise Failure(f"cannot use {names} for https: {_reason(error)}") from error
    if not http_ssl_verify:
        click.echo("Warning: the agent's certificate is not checked (HTTP_SSL_VERIFY=false).", err=True)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
