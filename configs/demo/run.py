"""`make demo`: the payments scene. One dev agent, four tiny services, their mesh; prints what to try and shows health live.

Runs until Ctrl-C and leaves nothing behind: every process it started ends, its one log file is removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from chowk.core.runtime.sockets import PortTaken, bind_tcp, bind_udp

HERE = Path(__file__).resolve().parent
API = "http://127.0.0.1:8500"
START_TIMEOUT_S = 30.0
COLOURS = {"passing": "32", "warning": "33", "critical": "31"}
TCP_PORTS = {
    8500: "the agent's HTTP API",
    8600: "the agent's DNS",
    8080: "payment-processor",
    8081: "fraud-detection-1",
    8082: "fraud-detection-2",
    8083: "risk-engine",
    9001: "the upstream fraud-detection",
    9002: "the upstream risk-engine",
}
APPS: dict[str, list[str]] = {
    "fraud-detection-1": ["8081"],
    "fraud-detection-2": ["8082"],
    "risk-engine": ["8083"],
    "payment-processor": [
        "8080", "--calls", "fraud-detection=http://127.0.0.1:9001/", "risk-engine=http://127.0.0.1:9002/",
    ],
}  # fmt: skip


@dataclass
class Scene:
    """The processes of the demo, in the order they started."""

    log_path: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, arguments: list[str]) -> None:
        """Start one in its own session, so that Ctrl-C reaches only us and we end them in order."""
        with self.log_path.open("ab") as log:
            self.processes[name] = subprocess.Popen(
                arguments, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )

    def close(self) -> None:
        """End all: the agent first, so that its checks do not see the others die."""
        for process in reversed(self.processes.values()):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(timeout=15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def get(path: str, timeout_s: float = 5.0) -> tuple[dict[str, str], list[dict[str, object]]]:
    """Headers and JSON of the agent's API."""
    with urllib.request.urlopen(API + path, timeout=timeout_s) as reply:  # noqa: S310 - our own agent
        return dict(reply.headers), json.loads(reply.read())


def refuse_taken_ports() -> None:
    """Exit with one line a port that somebody has."""
    taken = []
    for port, purpose in TCP_PORTS.items():
        binders = (bind_tcp, bind_udp) if port == 8600 else (bind_tcp,)
        for bind in binders:
            try:
                bind("127.0.0.1", port, purpose).close()
            except PortTaken as error:
                taken.append(error.strerror)
    if taken:
        sys.exit("the demo cannot start:\n  " + "\n  ".join(taken) + "\nstop what holds them and try again")


def wait_until_ready(scene: Scene, stop: threading.Event) -> bool:
    """True when every check passes and the upstreams answer, False when `stop` came first. Exits with the log's end when
    something died, or took too long.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if stop.is_set():
            return False
        dead = [name for name, process in scene.processes.items() if process.poll() is not None]
        if dead:
            break
        try:
            _, checks = get("/v1/health/state/any")
            if len(checks) >= 4 and all(check["Status"] == "passing" for check in checks):
                with urllib.request.urlopen("http://127.0.0.1:8080/", timeout=5) as reply:
                    reply.read()
                return True
        except (OSError, urllib.error.URLError, ValueError):
            pass
        stop.wait(0.1)
    tail = scene.log_path.read_text(errors="replace").splitlines()[-25:]
    sys.exit("the demo did not come up; the end of its log:\n  " + "\n  ".join(tail))


def print_what_to_try(scene: Scene, started: float) -> None:
    """Lines to copy, each with what it will show."""
    chowk = os.path.relpath(Path(sys.executable).with_name("chowk"))
    victim = scene.processes["fraud-detection-2"].pid
    dig = "dig" if shutil.which("dig") else "dig (Debian: apt install dnsutils)"
    lookup = "dig @127.0.0.1 -p 8600 fraud-detection.service.consul SRV +short"
    pair = "payment-processor fraud-detection"
    rows = [
        ("Where is fraud-detection? Both instances, with ports", lookup),
        ("Call it through the mesh: mTLS from sidecar to sidecar", "curl localhost:9001/"),
        ("A payment asks both of its upstreams", "curl localhost:8080/"),
        ("Forbid it: the next call fails, open connections close", f"{chowk} intention create -deny {pair}"),
        ("See it fail", "curl localhost:8080/"),
        ("Ask why: prints Denied, exits 1", f"{chowk} intention check {pair}"),
        ("Allow it again", f"{chowk} intention delete {pair}"),
        ("Kill an instance: DNS and the mesh drop it within 2 s", f"kill {victim}"),
        ("Everything the catalog knows", f"{chowk} catalog services -tags"),
    ]  # fmt: skip
    say(f"\nchowk runs: agent, server, 4 services, 4 sidecars, up in {time.monotonic() - started:.1f} s.")
    say(f"HTTP API {API}, DNS 127.0.0.1:8600, log {scene.log_path}\n")
    if dig != "dig":
        say(f"(to try the DNS line, install {dig})\n")
    for what, command in rows:
        say(f"  {paint('# ' + what, '2')}\n  {command}\n")
    say("Ctrl-C ends it all. Health, live:\n")


def paint(text: str, code: str) -> str:
    """Colour on a terminal, plain elsewhere."""
    return f"\033[{code}m{text}\033[0m" if sys.stdout.isatty() else text


def show_health(stop: threading.Event) -> None:
    """Print a line at each change of a check, and on a terminal a summary below, kept fresh by blocking queries."""
    index, before = "0", {}
    while not stop.is_set():
        try:
            headers, checks = get(f"/v1/health/state/any?index={index}&wait=10s", timeout_s=20)
        except (OSError, urllib.error.URLError, ValueError):
            stop.wait(1)
            continue
        index = headers.get("X-Consul-Index", "0")
        now = {str(check["CheckID"]): check for check in checks}
        for check_id in sorted(now.keys() | before.keys()):
            print_change(before.get(check_id), now.get(check_id))
        before = now
        if sys.stdout.isatty():
            counts = {status: sum(check["Status"] == status for check in checks) for status in COLOURS}
            text = "  ".join(paint(f"{count} {status}", COLOURS[status]) for status, count in counts.items() if count)
            with contextlib.suppress(OSError):
                print(f"\r\033[K  {text}", end="", flush=True)


def print_change(before: dict[str, object] | None, now: dict[str, object] | None) -> None:
    """One line when a check appeared, went, or changed its status."""
    check = now or before
    if check is None or (before and now and before["Status"] == now["Status"]):
        return
    status = str(now["Status"]) if now else "gone"
    name = str(check["ServiceID"] or check["Node"])
    clear = "\r\033[K" if sys.stdout.isatty() else ""
    first_line = str(now["Output"]).strip().partition("\n")[0] if now and status != "passing" else ""
    shown = paint(f"{status:<9}", COLOURS.get(status, "2"))
    say(f"{clear}  {time.strftime('%H:%M:%S')}  {name:<34}{shown}  {check['Name']}  {first_line}".rstrip())


def say(*lines: str) -> None:
    """Print; whoever read us may have gone (a closed terminal, the end of a pipe), and that must stop nothing here."""
    try:
        print(*lines, sep="\n", flush=True)
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """Run the scene."""
    started = time.monotonic()
    refuse_taken_ports()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    with tempfile.TemporaryDirectory(prefix="chowk-demo-") as folder:
        scene = Scene(Path(folder) / "demo.log")
        try:
            for name, arguments in APPS.items():
                scene.start(name, [sys.executable, str(HERE / "app.py"), name, *arguments])
            say("starting the agent and its mesh ... (Ctrl-C stops)")
            scene.start("agent", [sys.executable, "-m", "chowk", "agent", "-dev", "-config-dir", str(HERE)])
            if wait_until_ready(scene, stop):
                print_what_to_try(scene, started)
                threading.Thread(target=show_health, args=(stop,), daemon=True).start()
            while not stop.wait(0.5) and scene.processes["agent"].poll() is None:
                continue
        finally:
            say("", "stopping ...")
            scene.close()


if __name__ == "__main__":
    main()
