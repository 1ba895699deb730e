"""A real agent as a child process, on free ports, driven as a user drives it: files, signals, HTTP, dig, the CLI."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from harness.ports import free_port
from harness.waiting import eventually

CHOWK = [sys.executable, "-m", "chowk"]


class AgentProcess:
    """`hcl` is written to a file of its own; ports are set by flags. Use as a context manager: it leaves no process.

    `mode` are the flags that say what it is: -dev, a server of its own by default when not `dev`, or a part of a cluster.
    `prefix` is what the command runs under (another network namespace, another clock); `release` a folder with another
    release of chowk to run.
    """

    def __init__(
        self,
        folder: Path,
        hcl: str = "",
        *,
        dev: bool = True,
        flags: tuple[str, ...] = (),
        node: str = "host1",
        address: str = "127.0.0.1",
        mode: tuple[str, ...] = ("-server", "-bootstrap-expect=1"),
    ) -> None:
        self.folder = folder
        self.dev = dev
        self.flags = flags
        self.node = node
        self.address = address
        self.mode = mode
        self.prefix: tuple[str, ...] = ()
        self.release: Path | None = None
        self.http_port = free_port()
        self.dns_port = free_port()
        self.rpc_port = free_port()
        self.gossip_port = free_port()
        self.config_dir = folder / "config"
        self.config_dir.mkdir(parents=True, exist_ok=True)
        self.data_dir = folder / "data"
        self.log_path = folder / "agent.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.write("main.hcl", hcl)

    def write(self, name: str, text: str) -> None:
        """Write one configuration file."""
        (self.config_dir / name).write_text(text)

    def arguments(self) -> list[str]:
        """The agent's command line."""
        mode = ["-dev"] if self.dev else [*self.mode, f"-data-dir={self.data_dir}"]
        ports = [f"-http-port={self.http_port}", f"-dns-port={self.dns_port}"]
        if not self.dev:
            ports += [f"-server-port={self.rpc_port}", f"-serf-lan-port={self.gossip_port}"]
        places = [f"-bind={self.address}", f"-client={self.address}", f"-node={self.node}"]
        return [*self.prefix, *CHOWK, "agent", *mode, *ports, *places, f"-config-dir={self.config_dir}", *self.flags]

    def start(self, *, wait: bool = True) -> AgentProcess:
        """Start it; with `wait` until the registry answers and the node is in the catalog."""
        with self.log_path.open("ab") as log:
            environment = {**os.environ, "CHOWK_TEST_FOLDER": str(self.folder)}
            if self.release is not None:
                environment["PYTHONPATH"] = str(self.release)
            self.process = subprocess.Popen(
                self.arguments(),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        if wait:
            eventually(
                lambda: self._alive() and self.get(f"/v1/catalog/node/{self.node}"), f"agent ready\n{self.log()}", 20
            )
        return self

    def _alive(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise RuntimeError(f"the agent ended with {self.process.returncode}:\n{self.log()}")
        return True

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 25.0) -> int:
        """Signal it and wait; its exit status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def __enter__(self) -> AgentProcess:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stop it; what is still there after a clean stop is killed, and is a failure of the test."""
        clean = False
        try:
            clean = self.stop() == 0
        except subprocess.TimeoutExpired:
            if self.process is not None:
                self.process.kill()
                self.process.wait()
        left = self._marked()
        for pid, _command in left:
            os.kill(pid, signal.SIGKILL)
        if kind is None and clean and left:
            raise AssertionError(f"left behind by a clean stop: {left}\n{self.log()}")

    def log(self) -> str:
        """The end of its log."""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-60:]) if self.log_path.exists() else ""

    # --- talking to it

    def request(
        self, method: str, path: str, body: Any = None, timeout_s: float = 15.0
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one HTTP request; error statuses are answers too."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"http://{self.address}:{self.http_port}{path}", data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as reply:
                return reply.status, dict(reply.headers), reply.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()

    def get(self, path: str) -> Any:
        """JSON of a GET that must succeed."""
        status, _headers, body = self.request("GET", path)
        if status != 200:
            raise AssertionError(f"GET {path}: {status} {body!r}")
        return json.loads(body)

    def put(self, path: str, body: Any = None) -> Any:
        """JSON, or text, of a PUT that must succeed."""
        status, _headers, reply = self.request("PUT", path, body)
        if status != 200:
            raise AssertionError(f"PUT {path}: {status} {reply!r}")
        return json.loads(reply) if reply else None

    def dig(self, name: str, kind: str = "A", *options: str) -> list[str]:
        """Answers of `dig +short`, sorted."""
        command = [
            "dig",
            f"@{self.address}",
            "-p",
            str(self.dns_port),
            "+short",
            "+tries=1",
            "+time=3",
            *options,
            name,
            kind,
        ]
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
        return sorted(line for line in output.splitlines() if not line.startswith(";"))

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the CLI against this agent."""
        environment = {**os.environ, "CHOWK_HTTP_ADDR": f"{self.address}:{self.http_port}", "NO_COLOR": "1"}
        return subprocess.run([*CHOWK, *arguments], capture_output=True, text=True, env=environment, timeout=60)

    def passing(self, service: str) -> list[str]:
        """Ids of the instances that pass."""
        return sorted(row["Service"]["ID"] for row in self.get(f"/v1/health/service/{service}?passing"))

    # --- its processes

    def descendants(self) -> list[int]:
        """Pids of every living process that was started for this agent: they carry its folder in their environment."""
        return sorted(pid for pid, _command in self._marked())

    def child(self, module: str) -> int:
        """The pid of the first process of this agent whose command line names `module`."""
        pids = sorted(pid for pid, command in self._marked() if module.encode() in command)
        if not pids:
            raise AssertionError(f"no process runs {module}")
        return pids[0]

    def _marked(self) -> list[tuple[int, bytes]]:
        mark = f"CHOWK_TEST_FOLDER={self.folder}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                environment = (entry / "environ").read_bytes().split(b"\0")
                command = (entry / "cmdline").read_bytes()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if state != "Z" and mark in environment:
                found.append((int(entry.name), command))
        return found
