"""What every command of the CLI is made of: flags that take one dash or two, groups that load a command only when it is
used, and errors that end in the right exit code. Called by `cli` and by each module of `agent.commands`.

A command's module holds one `command`, a `Command` or a `Group`, and imports what is slow inside its functions.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar, cast

import click
from click.shell_completion import CompletionItem

from chowk.agent.commands import go_flags

F = TypeVar("F", bound=Callable[..., Any])

HELP_NAMES = ["-h", "-help", "--help"]


class Failure(click.ClickException):
    """The command could not do what was asked; the text says why, and what to do about it. `code` is the exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class Flag(click.Option):
    """An option that the command line may set, as `go_flags` says; others are set by the environment alone."""


def flag(*names: str, **attributes: Any) -> Callable[[F], F]:
    """`click.option`, in Go's spellings. Defaults are shown unless `show_default=False`."""
    attributes.setdefault("show_default", attributes.get("default") not in (None, "", False, ()))
    return click.option(*names, cls=Flag, **attributes)


def moot(name: str, why: str, **attributes: Any) -> Callable[[F], F]:
    """A flag of Consul's that does nothing here: it is taken, and a warning on standard error says `why`."""

    def say(_ctx: click.Context, _param: click.Parameter, value: Any) -> None:
        if value not in (None, False, "", ()):
            click.echo(f"Warning: {name[1:]} has no effect: {why}.", err=True)

    return flag(name, expose_value=False, hidden=True, callback=say, **attributes)


class Command(click.Command):
    """A command. `error_code` is the exit code of every failure, a wrong flag included. With `free_arguments`, those behind
    the first may begin with a dash, as values of keys do.
    """

    error_code = 1
    free_arguments = False

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:
        kwargs["context_settings"] = {"help_option_names": HELP_NAMES, **(kwargs.get("context_settings") or {})}
        super().__init__(*args, **kwargs)
        self.examples = examples

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the arguments. UsageError says what is wrong with them."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.NoSuchOption as error:
            name = error.option_name
            text = f"no such flag: {name}{_nearest(name.lstrip('-'), go_flags.names_of(self.params, Flag), '-')}"
            raise self._misuse(text, info_name, parent) from None
        except click.UsageError as error:
            raise self._misuse(error.format_message(), info_name, parent) from None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Called by click; see `go_flags`. What a shell wants completed is left as it is."""
        if ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        options = go_flags.names_of(self.params, Flag)
        interspersed, free = self.allow_interspersed_args, self.free_arguments
        line = go_flags.read_line(args, options, interspersed=interspersed, free=free)
        rest = super().parse_args(ctx, line.words())
        for name in line.refused:
            ctx.params[name] = False
        return rest

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Failure with this command's `error_code`."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise self._misuse(error.format_message(), ctx.info_name, ctx.parent) from None
        except click.ClickException as error:
            raise Failure(error.format_message(), self.error_code) from error

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples below the flags."""
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples.strip().splitlines():
                    formatter.write(f"  {line.strip()}\n" if line.strip() else "\n")
        super().format_epilog(ctx, formatter)

    def _misuse(self, text: str, info_name: str | None, parent: click.Context | None) -> Failure:
        path = f"{parent.command_path} {info_name}" if parent is not None else info_name
        return Failure(f"{text}\nTry `{path} -help`.", self.error_code)


def _nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    found = go_flags.near(name, known)
    return f" (did you mean {' or '.join(prefix + each for each in found)}?)" if found else ""


def command(
    name: str, *, examples: str = "", cls: type[Command] = Command, **attributes: Any
) -> Callable[[Callable[..., Any]], Command]:
    """Decorate a function into a command; its docstring is the help text, `examples` one command line a line."""
    return click.command(name, cls=cls, examples=examples, **attributes)


@click.pass_context
def _show_help_if_alone(ctx: click.Context) -> None:
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        ctx.exit(1)


class Group(click.Group):
    """A command with commands under it. `absent` says of Consul's that are not there why they are not."""

    command_class = Command

    def __init__(self, *args: Any, absent: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        kwargs["context_settings"] = {"help_option_names": HELP_NAMES, **(kwargs.get("context_settings") or {})}
        kwargs.setdefault("no_args_is_help", False)
        kwargs.setdefault("invoke_without_command", True)
        kwargs.setdefault("callback", _show_help_if_alone)
        super().__init__(*args, **kwargs)
        self._absent = absent or {}

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the arguments before the subcommand."""
        path = f"{parent.command_path} {info_name}" if parent is not None else info_name
        first = args[0] if args else ""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.NoSuchOption:
            text = f"flags stand behind the command: {path} COMMAND {first}"
            raise Failure(f"{text}\nTry `{path} -help`.") from None
        except click.UsageError as error:
            raise Failure(f"{error.format_message()}\nTry `{path} -help`.") from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand. Failure names the nearest one."""
        name, known = args[0], self.list_commands(ctx)
        if name in self._absent:
            raise Failure(f"there is no {ctx.command_path} {name}: {self._absent[name]}")
        if name not in known:
            raise Failure(f'no such command "{name}"{_nearest(name, known)}\nTry `{ctx.command_path} -help`.')
        return super().resolve_command(ctx, args)


class Entry(NamedTuple):
    """One line of a lazy group's table: the module that holds `command`, and its help for the list of commands."""

    module: str
    help: str


class LazyGroup(Group):
    """A group that knows its commands by a table, and imports a command's module when that command is used."""

    def __init__(self, *args: Any, entries: Mapping[str, Entry], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All names, sorted."""
        return sorted(self._entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the command."""
        entry = self._entries.get(cmd_name)
        return cast(click.Command, importlib.import_module(entry.module).command) if entry else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands from the table, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._entries[name].help) for name in sorted(self._entries)])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """Complete a command's name from the table."""
        return [
            CompletionItem(name, help=self._entries[name].help)
            for name in sorted(self._entries)
            if name.startswith(incomplete)
        ]
