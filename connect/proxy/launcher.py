"""The launcher: a small process with everything a proxy needs already imported, that forks one proxy for each launch.

A fork of it listens some milliseconds later and shares its memory. It runs no event loop and no thread: only then is
fork(2) safe. The agent starts it (`python -m chowk.connect.proxy.launcher`, one JSON line on stdin) and speaks
`launcher_protocol` with it. It outlives a killed agent, unless `exit_with_parent`; its proxies outlive it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import selectors
import signal
import socket
import ssl
import struct
import sys
import time
from pathlib import Path
from typing import Final, NoReturn

import msgspec
import structlog

from chowk.connect.ca.keys import make_csr, make_key
from chowk.connect.proxy.launcher_protocol import (
    LAUNCH,
    LINE_BYTES_MAX,
    LIST,
    SHUTDOWN,
    STOP,
    Line,
    Options,
    Running,
    cut,
    encode,
)
from chowk.connect.proxy.main import run_proxy
from chowk.core.runtime import logging
from chowk.core.runtime.sockets import bind_unix

log = structlog.get_logger("chowk.launcher")
PROXIES_MAX: Final = 1024
CLIENTS_MAX: Final = 16
OUTPUT_BYTES_MAX: Final = 256 * 1024
KILL_AFTER_S: Final = 6.5
"""A proxy drains for 5 s; one that is still there after this is killed."""
YOUNG_OBJECTS: Final = 10_000
"""So many new objects before Python looks for rings of dead ones: connections and calls are mostly gone by then."""
_PR_SET_NAME: Final = 15


class _Proxy:
    def __init__(self, proxy_id: str, pid: int) -> None:
        self.proxy_id = proxy_id
        self.pid = pid
        self.kill_at = 0.0
        """Monotonic seconds; 0 while it is to run."""


class _Client:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.input = bytearray()
        self.output = bytearray()


class Launcher:
    """`run` returns when it was told to end and every proxy has gone."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._proxies: dict[int, _Proxy] = {}
        self._clients: dict[int, _Client] = {}
        self._selector = selectors.DefaultSelector()
        self._signals, self._signals_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._ending = False
        self._parent = _watch_parent() if options.exit_with_parent else None
        self._path = Path(options.launcher_socket)
        self._listener = bind_unix(self._path)

    def run(self) -> None:
        """Serve clients and signals."""
        signal.set_wakeup_fd(self._signals_end, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._selector.register(self._signals, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)
        if self._options.exit_with_parent:
            self._selector.register(0, selectors.EVENT_READ)
        while not (self._ending and not self._proxies):
            for key, events in self._selector.select(self._patience()):
                self._handle(key.fd, events)
            self._kill_late()
        self._path.unlink(missing_ok=True)

    def _handle(self, descriptor: int, events: int) -> None:
        if descriptor == self._signals:
            self._take_signals()
        elif descriptor == self._listener.fileno():
            self._accept()
        elif descriptor == 0:
            if not os.read(0, 4096):
                self._selector.unregister(0)
                self._end("the agent is gone")
        elif client := self._clients.get(descriptor):
            if events & selectors.EVENT_WRITE:
                self._write(client)
            if events & selectors.EVENT_READ:
                self._read(client)

    def _take_signals(self) -> None:
        """Bytes are signal numbers. Children are looked for whatever came: signals are merged, bytes may be lost."""
        with contextlib.suppress(BlockingIOError):
            if signal.SIGTERM in os.read(self._signals, 4096):
                self._end("SIGTERM")
        while self._proxies:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            proxy = self._proxies.pop(pid, None)
            if proxy is not None:
                code = os.waitstatus_to_exitcode(status)
                log.info("proxy exited", proxy=proxy.proxy_id, pid=pid, status=code)
                self._tell_all(Line(event="exit", proxy_id=proxy.proxy_id, pid=pid, status=code))

    # --- clients

    def _accept(self) -> None:
        try:
            sock, _address = self._listener.accept()
        except OSError:
            return
        _pid, uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in (0, os.getuid()) or len(self._clients) >= CLIENTS_MAX:
            sock.close()
            return
        sock.setblocking(False)
        self._clients[sock.fileno()] = _Client(sock)
        self._selector.register(sock, selectors.EVENT_READ)

    def _read(self, client: _Client) -> None:
        try:
            data = client.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        client.input += data
        if not data or len(client.input) > LINE_BYTES_MAX:
            self._drop(client)
            return
        try:
            lines = list(cut(client.input))
        except ValueError as error:
            log.warning("launcher client refused", reason=str(error))
            self._drop(client)
            return
        for line in lines:
            self._send(client, self._answer(line))

    def _answer(self, line: Line) -> Line:
        match line.op:
            case "launch":
                return self._launch(line)
            case "stop":
                for proxy in self._proxies.values():
                    if proxy.proxy_id == line.proxy_id:
                        self._stop(proxy)
                return Line(id=line.id)
            case "list":
                running = tuple(
                    Running(proxy_id=proxy.proxy_id, pid=pid)
                    for pid, proxy in sorted(self._proxies.items())
                    if not proxy.kill_at
                )
                return Line(id=line.id, proxies=running)
            case "shutdown":
                self._end("asked to")
                return Line(id=line.id)
        return Line(id=line.id, error=f'unknown operation "{line.op}": use {LAUNCH}, {STOP}, {LIST} or {SHUTDOWN}')

    def _send(self, client: _Client, line: Line) -> None:
        client.output += encode(line)
        self._write(client)

    def _tell_all(self, line: Line) -> None:
        for client in list(self._clients.values()):
            self._send(client, line)

    def _write(self, client: _Client) -> None:
        if client.sock.fileno() not in self._clients:
            return
        try:
            sent = client.sock.send(client.output) if client.output else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self._drop(client)
            return
        del client.output[:sent]
        if len(client.output) > OUTPUT_BYTES_MAX:
            self._drop(client)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.output else 0)
        self._selector.modify(client.sock, events)

    def _drop(self, client: _Client) -> None:
        if self._clients.pop(client.sock.fileno(), None) is not None:
            self._selector.unregister(client.sock)
            client.sock.close()

    # --- proxies

    def _launch(self, line: Line) -> Line:
        """Fork. A proxy that runs already and was not told to stop is the answer itself."""
        if not line.proxy_id:
            return Line(id=line.id, error="launch needs a proxy_id")
        for proxy in self._proxies.values():
            if proxy.proxy_id == line.proxy_id and not proxy.kill_at:
                return Line(id=line.id, pid=proxy.pid)
        if self._ending or len(self._proxies) >= PROXIES_MAX:
            reason = "the launcher ends" if self._ending else f"over {PROXIES_MAX} proxies on one host"
            return Line(id=line.id, error=reason)
        try:
            pid = os.fork()
        except OSError as error:
            return Line(id=line.id, error=f"cannot fork: {error.strerror}")
        if pid == 0:
            self._be_proxy(line.proxy_id)
        self._proxies[pid] = _Proxy(line.proxy_id, pid)
        return Line(id=line.id, pid=pid)

    def _be_proxy(self, proxy_id: str) -> NoReturn:
        """In the child: let go of everything of the launcher, then serve. Never returns into the launcher's loop."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            self._selector.close()
            self._listener.close()
            for client in self._clients.values():
                client.sock.close()
            os.close(self._signals)
            os.close(self._signals_end)
            logging.configure(self._options.log_level, json=self._options.log_json, process="proxy")
            run_proxy(
                proxy_id,
                Path(self._options.control_socket),
                manual=False,
                parent=self._parent,
                leaf_folder=Path(self._options.leaf_folder) if self._options.leaf_folder else None,
            )
            status = 0
        except KeyboardInterrupt:
            status = 130
        except BaseException as error:
            log.error("proxy crashed", proxy=proxy_id, error=repr(error), exc_info=error)
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.flush()
            os._exit(status)

    def _stop(self, proxy: _Proxy) -> None:
        if not proxy.kill_at:
            proxy.kill_at = time.monotonic() + KILL_AFTER_S
            os.kill(proxy.pid, signal.SIGTERM)

    def _end(self, reason: str) -> None:
        if not self._ending:
            self._ending = True
            log.info("launcher ends", reason=reason, proxies=len(self._proxies))
        for proxy in self._proxies.values():
            self._stop(proxy)

    def _patience(self) -> float | None:
        """Seconds until the next kill is due; None when none is."""
        moments = [proxy.kill_at for proxy in self._proxies.values() if proxy.kill_at]
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _kill_late(self) -> None:
        now = time.monotonic()
        for proxy in self._proxies.values():
            if proxy.kill_at and now >= proxy.kill_at:
                proxy.kill_at = now + KILL_AFTER_S
                log.warning("proxy does not stop; killing it", proxy=proxy.proxy_id, pid=proxy.pid)
                os.kill(proxy.pid, signal.SIGKILL)


def _watch_parent() -> int | None:
    """A descriptor (pidfd_open(2)) of the agent, for proxies to end with it even when their launcher was killed before.

    Stdin cannot tell them: its other end is closed as soon as the launcher has died. None where the kernel has no pidfds.
    """
    try:
        return os.pidfd_open(os.getppid())
    except OSError:
        return None


def _preload() -> None:
    """What every proxy would do first, done once: OpenSSL's configuration read, curves and codecs ready."""
    for protocol in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
        ssl.SSLContext(protocol)
    make_csr(make_key(), "preload")
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


def main() -> int:
    """Read the options, serve; 1 when they are wrong or the socket is taken (said on stderr)."""
    with contextlib.suppress(PermissionError):
        os.setsid()
    try:
        options = msgspec.json.decode(_first_line(), type=Options)
        logging.configure(options.log_level, json=options.log_json, process="launcher")
        if not options.exit_with_parent:
            _close_stdin()
        launcher = Launcher(options)
    except (ValueError, OSError) as error:
        print(f"launcher: {error}", file=sys.stderr)
        return 1
    ctypes.CDLL(None).prctl(_PR_SET_NAME, b"chowk-launcher", 0, 0, 0)
    _preload()
    launcher.run()
    return 0


def _first_line() -> bytes:
    """Read byte-wise from the descriptor: a buffered reader would keep hidden what follows."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte or len(line) > LINE_BYTES_MAX:
            raise ValueError("one line of options is expected on stdin")
        line += byte
    return bytes(line)


def _close_stdin() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


if __name__ == "__main__":
    sys.exit(main())
