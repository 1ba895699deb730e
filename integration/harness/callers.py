"""Callers that do not stop: over connections that they keep, and over a new one each time. Every failure is noted.

For what must not be noticed (rotations, restarts): `with Callers(...)`, do it, then look at `failures` and `calls`.
"""

from __future__ import annotations

import http.client
import threading
import time

PAUSE_S = 0.02
TIMEOUT_S = 10.0
FAILURES_MAX = 50


class Callers:
    """`ports` are upstreams, by the answer that is expected of them."""

    def __init__(self, ports: dict[int, str]) -> None:
        self.calls: dict[tuple[int, bool], int] = {}
        self.failures: list[str] = []
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(port, answer, keeps), daemon=True)
            for port, answer in ports.items()
            for keeps in (True, False)
        ]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S + 5)

    def _call(self, port: int, answer: str, keeps: bool) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._over.wait(PAUSE_S):
            self.calls[(port, keeps)] = self.calls.get((port, keeps), 0) + 1
            connection = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
            try:
                connection.request("GET", "/")
                reply = connection.getresponse()
                body = reply.read().decode()
                wrong = "" if (reply.status, body) == (200, answer) else f"{reply.status} {body[:80]}"
                closed = reply.will_close
            except (OSError, http.client.HTTPException) as error:
                wrong, closed = repr(error), True
            if wrong and len(self.failures) < FAILURES_MAX:
                kind = "kept" if keeps else "new"
                self.failures.append(f"{time.strftime('%H:%M:%S')} {port} ({kind} connection): {wrong}")
            if closed or not keeps:
                connection.close()
                connection = None
