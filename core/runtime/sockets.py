"""Sockets, bound with errors that say who holds the port. Called by every listener of ours."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path


class PortTaken(OSError):
    """A port we need is in use; the text names the port, what it is for and, where the kernel tells us, by whom."""


def bind_tcp(host: str, port: int, purpose: str, backlog: int = 1024) -> socket.socket:
    """A listening, non-blocking TCP socket. PortTaken, or OSError naming the address."""
    sock = _bind(host, port, socket.SOCK_STREAM, purpose)
    sock.listen(backlog)
    return sock


def bind_udp(host: str, port: int, purpose: str) -> socket.socket:
    """A bound, non-blocking UDP socket. PortTaken, or OSError naming the address."""
    return _bind(host, port, socket.SOCK_DGRAM, purpose)


def share_udp(first: socket.socket, purpose: str) -> socket.socket:
    """Another socket at the address of `first`, to read it from another process: the kernel shares the senders out between
    them (SO_REUSEPORT). Who binds alone, as everybody does here, still finds the port taken.
    """
    first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    host, port = first.getsockname()[:2]
    return _bind(host, port, socket.SOCK_DGRAM, purpose, shared=True)


def bind_unix(path: Path, mode: int = 0o600, backlog: int = 512) -> socket.socket:
    """A listening Unix socket of that mode. A stale file is replaced; a live listener's is not (PortTaken)."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"cannot use the socket {path}: {error.strerror}") from error
    else:
        raise PortTaken(errno.EADDRINUSE, f"another process listens on {path}")
    finally:
        probe.close()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    previous = os.umask(0o777 & ~mode)
    try:
        sock.bind(str(path))
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(previous)
    sock.listen(backlog)
    sock.setblocking(False)
    return sock


def is_taken(host: str, port: int) -> bool:
    """Whether somebody listens on that TCP port now. False also when `host` is no address of this machine."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _bind(host: str, port: int, kind: socket.SocketKind, purpose: str, *, shared: bool = False) -> socket.socket:
    protocol = "tcp" if kind == socket.SOCK_STREAM else "udp"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setblocking(False)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            text = f"{purpose}: {protocol} port {port} on {host} is taken{holder_of(port, protocol)}"
            raise PortTaken(error.errno, text) from error
        raise OSError(error.errno, f"{purpose}: cannot bind {protocol} {host}:{port}: {error.strerror}") from error
    return sock


def holder_of(port: int, protocol: str) -> str:
    """` by NAME (pid N)` for the local port, or "" when the kernel does not let us see it (Linux only)."""
    inodes = {inode for suffix in ("", "6") for inode in _inodes(Path(f"/proc/net/{protocol}{suffix}"), port)}
    if not inodes:
        return ""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            for entry in (process / "fd").iterdir():
                if os.readlink(entry).removeprefix("socket:[").removesuffix("]") in inodes:
                    name = (process / "comm").read_text().strip()
                    return f" by {name} (pid {process.name})"
        except OSError:
            continue
    return ""


def _inodes(table: Path, port: int) -> list[str]:
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []
    listening = "0A" if table.name.startswith("tcp") else "07"
    return [row[9] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == listening]
