"""What the HTTP API listens on besides plain TCP: TLS with the operator's certificate, Unix sockets. Called by `serve`."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

from chowk.agent.config.model import HttpsConfig, UnixSocketsConfig
from chowk.core.errors import ChowkError
from chowk.core.runtime.sockets import bind_unix


class BadCertificate(ChowkError):
    """The HTTPS API's files cannot be used; the text names them and says why."""


def tls_context(config: HttpsConfig) -> ssl.SSLContext:
    """A server's context with the certificate, TLS 1.2 at least; with `verify_incoming` a client needs one of its own that
    an authority of `ca_file` or `ca_path` signed. BadCertificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if config.tls_1_3_only else ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    load_certificate(context, config)
    if config.verify_incoming:
        try:
            context.load_verify_locations(config.ca_file or None, config.ca_path or None)
        except (OSError, ValueError) as error:
            raise BadCertificate(f"cannot read the authorities {config.ca_file or config.ca_path}: {error}") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def load_certificate(context: ssl.SSLContext, config: HttpsConfig) -> None:
    """Read the certificate and its key, for the handshakes from now on. BadCertificate, and then nothing changes."""

    def refuse_to_ask() -> str:
        raise BadCertificate(f"the key {config.key_file} is encrypted, and there is nobody to ask for its password")

    fresh = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        for each in (fresh, context):
            each.load_cert_chain(config.cert_file, config.key_file, password=refuse_to_ask)
    except (OSError, ValueError) as error:
        reason = (
            error.reason
            if isinstance(error, ssl.SSLError) and error.reason
            else getattr(error, "strerror", None) or error
        )
        raise BadCertificate(
            f"cannot use the certificate {config.cert_file} with {config.key_file}: {reason}"
        ) from error


def bind_sockets(paths: Sequence[str], config: UnixSocketsConfig) -> list[socket.socket]:
    """Listening Unix sockets of that owner and mode. OSError names the path; then none stays."""
    bound: list[socket.socket] = []
    try:
        owner, group = _user_id(config.user), _group_id(config.group)
        for path in paths:
            bound.append(bind_unix(Path(path), config.mode))
            if owner >= 0 or group >= 0:
                os.chown(path, owner, group)
    except BaseException:
        close_sockets(bound)
        raise
    return bound


def close_sockets(sockets: Sequence[socket.socket]) -> None:
    """Close them, and take their paths away."""
    remove_paths(sockets)
    for sock in sockets:
        sock.close()


def remove_paths(sockets: Sequence[socket.socket]) -> None:
    """Take the paths of sockets that still listen away, so that nobody new comes."""
    for sock in sockets:
        path = sock.getsockname() if sock.fileno() >= 0 else ""
        if path:
            Path(path).unlink(missing_ok=True)


def _user_id(text: str) -> int:
    try:
        number = _number(text)
        return pwd.getpwnam(text).pw_uid if number is None else number
    except (KeyError, ValueError):
        raise OSError(0, f'unix_sockets.user: there is no user "{text}"') from None


def _group_id(text: str) -> int:
    try:
        number = _number(text)
        return grp.getgrnam(text).gr_gid if number is None else number
    except (KeyError, ValueError):
        raise OSError(0, f'unix_sockets.group: there is no group "{text}"') from None


def _number(text: str) -> int | None:
    """-1, which changes nothing, for "", and the id for what is one."""
    if not text:
        return -1
    return int(text) if text.isascii() and text.isdigit() and int(text) < 2**31 else None
