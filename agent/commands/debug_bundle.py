"""What `chowk debug` gathers, and the bundle it writes: aside first, under its name when it is whole. Called by `debug`.

Only endpoints that show no secret are asked: never KV, leaves, the keyring or the CA's configuration.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from chowk.agent.commands.client import ApiClient, path_of
from chowk.agent.commands.command import Failure

STATIC: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "agent": (("agent.json", path_of("agent", "self")),),
    "host": (("host.json", path_of("agent", "host")),),
    "members": (("members.json", path_of("agent", "members")),),
    "certificates": (("certificates.json", path_of("agent", "metrics", "certificates")),),
    "raft": (
        ("raft.json", path_of("operator", "raft", "configuration")),
        ("autopilot.json", path_of("operator", "autopilot", "state")),
    ),
}
"""Target -> its files and the endpoints they come from, each asked once."""
METRICS: Final = "metrics"
LOGS: Final = "logs"
TARGETS: Final = (*STATIC, METRICS, LOGS)
ALIASES: Final = {"cluster": "members"}
ABSENT: Final = frozenset({"pprof"})
"""What Consul captures, and no agent of chowk has."""
LOG_BYTES_MAX: Final = 64 * 1024 * 1024
ERRORS_MAX: Final = 256


class Plan(NamedTuple):
    """What to gather, and for how long."""

    duration_s: float
    interval_s: float
    targets: tuple[str, ...]


class Bundle:
    """A folder that nobody else may read, written aside in `parent`; `archive` or `keep` gives it its place."""

    def __init__(self, parent: Path, name: str) -> None:
        parent.mkdir(parents=True, exist_ok=True)
        self._name = name
        self._folder = Path(tempfile.mkdtemp(prefix=".chowk-debug-", dir=parent))
        self._parts: list[Path] = [self._folder]

    def write(self, file: str, text: str) -> None:
        """A file of the bundle, at once."""
        (self._folder / file).write_text(text)

    def append(self, file: str, data: bytes) -> None:
        """More of a file."""
        with (self._folder / file).open("ab") as opened:
            opened.write(data)

    def archive(self, target: Path) -> None:
        """Pack it to `target`, which is there whole or not at all."""
        descriptor, part = tempfile.mkstemp(prefix=".chowk-debug-", dir=target.parent)
        self._parts.append(Path(part))
        with open(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz") as tar:
                for path in sorted(self._folder.iterdir()):
                    tar.add(path, arcname=f"{self._name}/{path.name}")
            file.flush()
            os.fsync(file.fileno())
        Path(part).rename(target)

    def keep(self, target: Path) -> None:
        """Give the folder its name."""
        self._folder.rename(target)

    def discard(self) -> None:
        """Remove what has not got its place."""
        for part in self._parts:
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
            else:
                with suppress(FileNotFoundError):
                    part.unlink()


class _Index:
    """index.json: what was gathered, when, and what could not be had."""

    def __init__(self, plan: Plan, version: str, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._fields: dict[str, Any] = {
            "Version": 1, "AgentVersion": version, "Interval": f"{plan.interval_s:g}s",
            "Duration": f"{plan.duration_s:g}s", "Targets": list(plan.targets), "Started": _now(),
        }  # fmt: skip
        self._errors: list[dict[str, str]] = []

    def note(self, what: str, error: Failure) -> None:
        """Something could not be had."""
        text = error.format_message()
        self._tell(f"    {what} could not be had: {text.splitlines()[0] if text else 'no reason was given'}")
        if len(self._errors) < ERRORS_MAX:
            self._errors.append({"At": _now(), "What": what, "Error": text})

    def text(self, *, interrupted: bool) -> str:
        """The file."""
        ending = {"Ended": _now(), "Interrupted": interrupted, "Errors": self._errors}
        return json.dumps({**self._fields, **ending}, indent=4) + "\n"


class _Log:
    """Follows the agent's log from a thread of its own, up to LOG_BYTES_MAX, until `end`."""

    def __init__(self, api: ApiClient, bundle: Bundle, index: _Index) -> None:
        self._api = api
        self._bundle = bundle
        self._index = index
        self._lock = threading.Lock()
        self._ended = False
        self._bytes = 0
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def end(self) -> None:
        """Write no more from now on."""
        with self._lock:
            self._ended = True

    def _run(self) -> None:
        try:
            for line in self._api.stream(path_of("agent", "monitor"), {"loglevel": "debug"}):
                if not self._take(line):
                    return
        except Failure as error:
            with self._lock:
                if not self._ended:
                    self._index.note(LOGS, error)

    def _take(self, line: bytes) -> bool:
        with self._lock:
            if self._ended or self._bytes > LOG_BYTES_MAX:
                return False
            self._bytes += len(line)
            self._bundle.append("chowk.log", line)
            return True


def capture(
    api: ApiClient,
    plan: Plan,
    bundle: Bundle,
    version: str,
    tell: Callable[[str], None],
    sleep: Callable[[float], None],
) -> bool:
    """Gather everything into `bundle`; whether Ctrl-C ended it early. OSError when it cannot be written."""
    index = _Index(plan, version, tell)
    log, interrupted = None, False
    try:
        if LOGS in plan.targets:
            bundle.append("chowk.log", b"")
            log = _Log(api, bundle, index)
        for file, path in [pair for target in plan.targets for pair in STATIC.get(target, ())]:
            try:
                bundle.write(file, _shown(api.get(path)))
            except Failure as error:
                index.note(file, error)
        if METRICS in plan.targets or LOGS in plan.targets:
            _follow(api, plan, bundle, index, tell, sleep)
    except KeyboardInterrupt:
        interrupted = True
        tell("==> Interrupted; saving what there is")
    finally:
        if log is not None:
            log.end()
    bundle.write("index.json", index.text(interrupted=interrupted))
    return interrupted


def _follow(
    api: ApiClient,
    plan: Plan,
    bundle: Bundle,
    index: _Index,
    tell: Callable[[str], None],
    sleep: Callable[[float], None],
) -> None:
    """The metrics at once and after each interval, one JSON object a line."""
    rounds = int(plan.duration_s // plan.interval_s)
    for number in range(rounds + 1):
        tell(f"==> Capture interval {number} of {rounds} ({_now()})")
        if METRICS in plan.targets:
            try:
                line = {"At": _now(), **api.get(path_of("agent", "metrics"))}
                bundle.append("metrics.json", json.dumps(line).encode() + b"\n")
            except Failure as error:
                index.note(METRICS, error)
        if number < rounds:
            sleep(plan.interval_s)
    sleep(plan.duration_s - rounds * plan.interval_s)


def _shown(value: Any) -> str:
    return json.dumps(value, indent=4) + "\n"


def _now() -> str:
    return datetime.fromtimestamp(int(time.time()), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
