"""`chowk watch`: shows a part of the registry once, or runs a command each time it changes."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, ApiError, path_of
from chowk.agent.commands.command import Command, Failure, flag
from chowk.agent.commands.command import command as make_command
from chowk.agent.commands.go_flags import FALSE, TRUE
from chowk.agent.commands.output import show_json

if TYPE_CHECKING:
    from chowk.agent.config.model import WatchDefinition
    from chowk.agent.watches.plan import Answer, Ask, WatchFailed

TRUTH: Final = click.Choice(sorted(TRUE | FALSE))
"""A value, not a switch, as in Consul: `-passingonly true`."""
PASSING_STATUSES: Final = frozenset({0, 429, 500, 502, 503, 504})
"""No answer, or one that may be another soon: asked again, also where the value is shown once only."""


class WatchCommand(Command):
    """Everything behind the flags belongs to the child, its flags too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.allow_interspersed_args = False


@make_command(
    "watch",
    cls=WatchCommand,
    examples="""
    chowk watch -type=key -key=config/web
    chowk watch -type=service -service=web -passingonly=true ./render.sh
    chowk watch -type=keyprefix -prefix=config/ -shell=false /usr/bin/rebuild --all
    chowk watch -type=event -name=deploy './deploy.sh | logger'""",
)
@flag(
    "--type",
    "kind",
    required=True,
    metavar="TYPE",
    help="key, keyprefix, services, nodes, service, checks, event, connect_roots, connect_leaf or agent_service.",
)
@flag("--key", default="", metavar="KEY", help="Of a key watch.")
@flag("--prefix", default="", metavar="PREFIX", help="Of a keyprefix watch.")
@flag("--service", default="", metavar="NAME", help="Of service, checks and connect_leaf; the ID of an agent_service.")
@flag("--tag", multiple=True, metavar="TAG", help="Of a service watch: only instances with this tag; may be repeated.")
@flag("--passingonly", type=TRUTH, default="false", metavar="BOOL", help="Of a service watch: only healthy instances.")
@flag("--state", default="", metavar="STATE", help="Of a checks watch: any, passing, warning or critical.")
@flag("--name", default="", metavar="NAME", help="Of an event watch.")
@flag("--filter", "expression", default="", metavar="EXPRESSION", help="An expression over what is listed.")
@flag("--shell", type=bool, default=True, metavar="BOOL", help="Run the child by a shell.")
@click.argument("child", nargs=-1, type=click.UNPROCESSED)
@api_flags
def command(
    api: ApiClient,
    kind: str,
    key: str,
    prefix: str,
    service: str,
    tag: tuple[str, ...],
    passingonly: str,
    state: str,
    name: str,
    expression: str,
    shell: bool,
    child: tuple[str, ...],
) -> int:
    """Show what TYPE sees now, as JSON, and end. With CHILD: run it now and at each change, with the JSON on its standard
    input and the index in CONSUL_INDEX. It never runs twice at a time: what changes meanwhile is told when it has ended.
    """
    from chowk.agent.config.model import WatchDefinition
    from chowk.agent.config.watch_rules import parameter_problem
    from chowk.agent.watches.handlers import shell as user_shell

    passing_only = passingonly in TRUE
    parameters: dict[str, Any] = {"key": key, "prefix": prefix, "state": state, "name": name, "filter": expression}
    parameters["service_id" if kind == "agent_service" else "service"] = service
    problem = parameter_problem(kind, {**parameters, "tag": tag, "passingonly": passing_only})
    if problem:
        raise click.UsageError(problem.replace("service_id", "service"))
    definition = WatchDefinition(type=kind, tags=tag, passing_only=passing_only, **parameters)
    arguments = (user_shell(), "-c", " ".join(child)) if child and shell else child
    try:
        api.get(path_of("agent", "self"))
    except Failure as error:
        raise Failure(f"Error querying the agent: {error.format_message()}") from error
    return asyncio.run(_until_signal(api, definition, arguments))


async def _until_signal(api: ApiClient, definition: WatchDefinition, arguments: Sequence[str]) -> int:
    """SIGTERM and SIGINT end the watch and its child, which is passed SIGTERM and reaped."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(_watch(api, definition, arguments))
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return 0
    return 0


async def _watch(api: ApiClient, definition: WatchDefinition, arguments: Sequence[str]) -> None:
    from chowk.agent.watches.changes import changes
    from chowk.agent.watches.handlers import HandlerFailed, run_handler
    from chowk.agent.watches.plan import WatchPlan
    from chowk.core.runtime.clock import SystemClock

    async def fetch(ask: Ask) -> Answer:
        return await _in_thread(api, ask)

    def tell(failure: WatchFailed, wait_s: float) -> None:
        if not arguments and failure.status not in PASSING_STATUSES:
            raise Failure(str(failure))
        click.echo(f"Watch errored: {failure}; asking again in {wait_s:g}s", err=True)

    async for change in changes(WatchPlan(definition), fetch, SystemClock(), tell):
        if not arguments:
            show_json(change.data)
            return
        try:
            await run_handler(arguments, change, None)
        except HandlerFailed as error:
            click.echo(f"Error executing handler: {error}", err=True)


async def _in_thread(api: ApiClient, ask: Ask) -> Answer:
    """Ask from a thread that nobody waits for when the watch ends: its question may block for long."""
    from chowk.agent.watches.plan import Answer, WatchFailed

    loop = asyncio.get_running_loop()
    done: asyncio.Future[Answer] = loop.create_future()

    def settle(answer: Answer | WatchFailed) -> None:
        if done.done():
            return
        if isinstance(answer, WatchFailed):
            done.set_exception(answer)
        else:
            done.set_result(answer)

    def run() -> None:
        found: Answer | WatchFailed
        try:
            reply = api.request("GET", ask.path, ask.query)
            index = reply.headers.get("X-Consul-Index") or "0"
            found = Answer(reply.status, int(index), reply.headers.get("X-Consul-ContentHash") or "", reply.body)
        except ApiError as error:
            found = Answer(error.status, error.index, "", error.text.encode())
        except Failure as error:
            found = WatchFailed(error.format_message())
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, found)

    threading.Thread(target=run, name="watch", daemon=True).start()
    return await done
