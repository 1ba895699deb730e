"""`chowk debug`: gathers what helps to understand an agent and its cluster into one archive."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import click

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, path_of
from chowk.agent.commands.command import Failure, flag
from chowk.agent.commands.command import command as make_command
from chowk.agent.commands.debug_bundle import ABSENT, ALIASES, TARGETS, Bundle, Plan, capture
from chowk.agent.commands.output import show_line
from chowk.core.durations import format_duration, parse_duration

DURATION_S_MIN = 10.0
DURATION_S_MAX = 24 * 3600.0
INTERVAL_S_MIN = 5.0
INTERRUPTED = 130


@make_command(
    "debug",
    examples="""
    chowk debug
    chowk debug -duration=1m -interval=10s -output=/tmp/web-1
    chowk debug -capture=metrics -capture=logs""",
)
@flag("--duration", default="5m", metavar="DURATION", help="How long to gather metrics and logs; at least 10s.")
@flag("--interval", default="30s", metavar="DURATION", help="Time between two looks at the metrics; at least 5s.")
@flag("--output", default="", metavar="PATH", help="Where to write it; chowk-debug-TIME otherwise.")
@flag("--archive", type=bool, default=True, metavar="BOOL", help="Make a .tar.gz of it, not a folder.")
@flag("--capture", "targets", multiple=True, metavar="TARGET", help="Only this; may be repeated: " + ", ".join(TARGETS))
@api_flags
def command(api: ApiClient, duration: str, interval: str, output: str, archive: bool, targets: tuple[str, ...]) -> int:
    """Gather what the agent says of itself, its host and its cluster, and for DURATION its metrics and log.

    Works without a leader: what could not be had is told in index.json. Ctrl-C ends it early, with what there is so far;
    a second Ctrl-C leaves nothing. It holds no key, token or value of KV; read it before you hand it on all the same.
    """
    plan = _plan(duration, interval, targets)
    name = output or f"chowk-debug-{int(time.time())}"
    target = Path(f"{name.removesuffix('.tar.gz')}.tar.gz" if archive else name)
    if target.exists():
        raise Failure(f"{target} is there already")
    try:
        version = api.get(path_of("agent", "self"))["Stats"]["build"]["version"]
    except (Failure, KeyError, TypeError) as error:
        text = error.format_message() if isinstance(error, Failure) else "its answer is not an agent's"
        raise Failure(f"cannot ask the agent: {text}") from error
    click.echo("==> Starting debugger and capturing static information...")
    for label, value in (
        ("Agent Version", version),
        ("Interval", format_duration(plan.interval_s)),
        ("Duration", format_duration(plan.duration_s)),
        ("Output", str(target)),
        ("Capture", ", ".join(plan.targets)),
    ):
        show_line(f"{label:>22}: '{value}'")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        bundle = Bundle(target.parent, target.name.removesuffix(".tar.gz"))
    except OSError as error:
        raise Failure(f"cannot write beside {target}: {error.strerror or error}") from error
    try:
        interrupted = capture(api, plan, bundle, str(version), show_line, time.sleep)
        (bundle.archive if archive else bundle.keep)(target)
    except OSError as error:
        raise Failure(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        bundle.discard()
    show_line(f"Saved debug archive: {target}" if archive else f"Saved debug folder: {target}")
    return INTERRUPTED if interrupted else 0


def _plan(duration: str, interval: str, targets: tuple[str, ...]) -> Plan:
    try:
        duration_s, interval_s = parse_duration(duration), parse_duration(interval)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    wanted = [ALIASES.get(target, target) for each in targets for target in each.split(",")]
    for target in sorted(ABSENT.intersection(wanted)):
        click.echo(
            f"Warning: {target} is not captured: those are profiles of Go's runtime; metrics has the loops'.", err=True
        )
    if wanted and ABSENT.issuperset(wanted):
        raise click.UsageError(f"nothing is left to capture: {', '.join(TARGETS)}")
    wanted = [target for target in wanted if target not in ABSENT]
    unknown = [target for target in wanted if target not in TARGETS]
    if unknown:
        raise click.UsageError(f'nothing called "{unknown[0]}" can be captured: {", ".join(TARGETS)}')
    if interval_s < INTERVAL_S_MIN:
        raise click.UsageError(f"-interval is at least {INTERVAL_S_MIN:g}s")
    if not DURATION_S_MIN <= duration_s <= DURATION_S_MAX:
        raise click.UsageError(f"-duration is at least {DURATION_S_MIN:g}s, and at most a day")
    if duration_s < interval_s:
        raise click.UsageError("-duration must not be shorter than -interval")
    return Plan(duration_s, interval_s, tuple(target for target in TARGETS if not wanted or target in wanted))
