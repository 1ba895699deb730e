"""`chowk lock`: runs a command while it holds a lock, and stops it when the lock is lost."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
import time
from types import FrameType
from typing import Final

import click

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, ApiError, Unreachable
from chowk.agent.commands.command import Command, Failure, flag
from chowk.agent.commands.command import command as make_command
from chowk.agent.commands.locks import HeldSession, Lock, Mutex, Semaphore, acquire
from chowk.core.durations import parse_duration

GRACE_S: Final = 5.0
"""How long the child may take to end after SIGTERM."""
POLL_S: Final = 0.1
MONITOR_RETRY_S: Final = 1.0
CHILD_FAILED: Final = 2
INTERRUPTED: Final = 130


class LockCommand(Command):
    """Everything behind the prefix belongs to the child, its flags too."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.allow_interspersed_args = False


@make_command(
    "lock",
    cls=LockCommand,
    examples="""
    chowk lock service/web/migrate ./migrate.sh
    chowk lock -n 3 service/web/restart systemctl restart web
    chowk lock -shell=false -timeout 30s backup rsync -a /data host2:""",
)
@flag("-n", "limit", type=click.IntRange(1, 1024), default=1, metavar="NUMBER", help="How many may hold it at a time.")
@flag("--name", default="", metavar="NAME", help="The name of the session.")
@flag("--shell", type=bool, default=True, metavar="BOOL", help="Run the child by a shell.")
@flag("--pass-stdin", is_flag=True, help="Give the child standard input.")
@flag("--child-exit-code", is_flag=True, help="Exit with 2 when the child fails.")
@flag(
    "--timeout",
    "--try",
    "timeout",
    default="",
    metavar="DURATION",
    help="Give up when the lock is not had in this time.",
)
@flag(
    "--monitor-retry",
    type=click.IntRange(0, 100),
    default=3,
    metavar="NUMBER",
    help="How often to look again, a second apart, when nobody can say whether the lock is still held.",
)
@flag("--verbose", is_flag=True, help="Say what happens.")
@click.argument("prefix")
@click.argument("child", nargs=-1, required=True, type=click.UNPROCESSED)
@api_flags
def command(
    api: ApiClient,
    prefix: str,
    child: tuple[str, ...],
    limit: int,
    name: str,
    shell: bool,
    pass_stdin: bool,
    child_exit_code: bool,
    timeout: str,
    monitor_retry: int,
    verbose: bool,
) -> int:
    """Hold the lock PREFIX while the command CHILD runs. If it is lost, the child is stopped (SIGTERM, then SIGKILL).

    Exit codes: 0; 1: the lock was not had, or was lost; 2: the child failed, with -child-exit-code.
    """
    prefix = prefix.strip("/")
    if not prefix:
        raise click.UsageError("the prefix of a lock cannot be empty")
    deadline_s = time.monotonic() + _seconds(timeout) if timeout else None
    stopped = _stop_on_signals()
    tell = _Teller(verbose)
    session = HeldSession(api, name or f"chowk lock for '{' '.join(child)[:200]}' at '{prefix}'")
    session.start()
    lock: Lock = Mutex(api, prefix, session.id) if limit == 1 else Semaphore(api, prefix, session.id, limit)
    try:
        tell("Attempting lock acquisition")
        if not acquire(lock, deadline_s, lambda: stopped.is_set() or session.lost.is_set()):
            raise Failure("Lock acquisition failed: " + ("interrupted" if stopped.is_set() else "not had in time"))
        tell("Lock acquired, starting the child")
        watch = _Watch(lock, session, monitor_retry)
        code = _run(_Child(child, shell, pass_stdin), watch, stopped, tell)
        watch.end()
        return CHILD_FAILED if child_exit_code and code else 0
    finally:
        tell("Cleaning up")
        _clean_up(lock, session)


class _Teller:
    def __init__(self, verbose: bool) -> None:
        self._verbose = verbose

    def __call__(self, text: str) -> None:
        if self._verbose:
            click.echo(text, err=True)


class _Watch:
    """Looks at the lock from a thread of its own; `lost` is set when it is no longer held, or nobody can say so."""

    def __init__(self, lock: Lock, session: HeldSession, retries: int) -> None:
        self._lock = lock
        self._session = session
        self._retries = retries
        self._ended = threading.Event()
        self._gone = threading.Event()
        threading.Thread(target=self._run, name="watch", daemon=True).start()

    @property
    def lost(self) -> bool:
        return self._gone.is_set() or self._session.lost.is_set()

    def end(self) -> None:
        self._ended.set()

    def _run(self) -> None:
        index, failures = 0, 0
        while not self._ended.is_set():
            try:
                held, index = self._lock.watch(index)
            except (ApiError, Unreachable):
                failures += 1
                if failures > self._retries:
                    break
                self._ended.wait(MONITOR_RETRY_S)
                continue
            except Failure:
                break
            failures = 0
            if not held:
                break
        self._gone.set()


class _Child:
    """The command, in a session of its own (unless it reads our standard input), so that all it starts ends with it."""

    def __init__(self, words: tuple[str, ...], shell: bool, pass_stdin: bool) -> None:
        arguments = ["/bin/sh", "-c", " ".join(words) if len(words) > 1 else words[0]] if shell else list(words)
        self._own_group = not pass_stdin
        try:
            self._process = subprocess.Popen(
                arguments,
                stdin=None if pass_stdin else subprocess.DEVNULL,
                env={**os.environ, "CHOWK_LOCK_HELD": "true", "CONSUL_LOCK_HELD": "true"},
                start_new_session=self._own_group,
            )
        except OSError as error:
            raise Failure(f"cannot run {shlex.quote(arguments[0])}: {error.strerror or error}") from error

    def wait(self, seconds: float) -> int | None:
        """The exit code, None when it still runs."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> int:
        """SIGTERM, and SIGKILL when that does not help; the exit code."""
        self._signal(signal.SIGTERM)
        code = self.wait(GRACE_S)
        if code is None:
            self._signal(signal.SIGKILL)
            code = self._process.wait()
        return code

    def _signal(self, number: signal.Signals) -> None:
        try:
            if self._own_group:
                os.killpg(self._process.pid, number)
            else:
                self._process.send_signal(number)
        except ProcessLookupError:
            return


def _run(child: _Child, watch: _Watch, stopped: threading.Event, tell: _Teller) -> int:
    while (code := child.wait(POLL_S)) is None:
        if watch.lost:
            click.echo("Lock lost, stopping the child", err=True)
            child.stop()
            raise Failure("the lock was lost")
        if stopped.is_set():
            tell("Interrupted, stopping the child")
            child.stop()
            raise click.exceptions.Exit(INTERRUPTED)
    return code


def _clean_up(lock: Lock, session: HeldSession) -> None:
    try:
        lock.release()
    except Failure as error:
        click.echo(f"the lock could not be released, and is until its session ends: {error.format_message()}", err=True)
    finally:
        session.end()


def _stop_on_signals() -> threading.Event:
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
    return stopped


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
