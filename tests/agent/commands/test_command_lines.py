"""What holds for every command line: flags, help, exit codes, laziness."""

from __future__ import annotations

import subprocess
import sys
import time

import click
import pytest

from chowk import __version__
from chowk.agent.commands.command import Command, Group
from chowk.cli import COMMANDS, root, run

WRITTEN_ELSEWHERE = {"agent", "demo"}


def leaves(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        if not path and name in WRITTEN_ELSEWHERE:
            continue
        command = group.get_command(ctx, name)
        assert command is not None
        found += leaves(command, (*path, name)) if isinstance(command, click.Group) else [(*path, name)]
    return found


LEAVES = leaves(root)


def command_at(path: tuple[str, ...]) -> click.Command:
    command: click.Command = root
    for name in path:
        found = command.get_command(click.Context(command), name)  # type: ignore[attr-defined]
        assert found is not None
        command = found
    return command


def test_what_scripts_ask_by_exit_code_has_one_of_its_own_for_errors():
    assert [getattr(command_at(path), "error_code", 1) for path in (("intention", "check"), ("config", "diff"))] == [
        2,
        2,
    ]


def test_the_table_reaches_the_commands_the_contract_names():
    assert {"members", "info", "validate", "version", "keygen", "maint", "monitor"} <= {path[0] for path in LEAVES}
    assert ("connect", "ca", "set-config") in LEAVES
    assert ("operator", "raft", "list-peers") in LEAVES


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
@pytest.mark.parametrize("name", ["-h", "-help", "--help"])
def test_every_command_explains_itself_with_an_example(run, path, name):
    code, out, err = run(*path, name)
    assert (code, err) == (0, "")
    assert f"Usage: chowk {' '.join(path)}" in out
    assert f"  chowk {' '.join(path)}" in out.split("Examples:")[1]


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_refuses_a_flag_it_does_not_know_and_names_it(run, path):
    code, out, err = run(*path, "-nonsense=1")
    assert code == getattr(command_at(path), "error_code", 1)
    assert out == ""
    assert "no such flag: -nonsense" in err
    assert f"chowk {' '.join(path)} -help" in err


@pytest.mark.parametrize("path", [path for path in LEAVES if path not in {("version",), ("keygen",)}], ids=" ".join)
def test_every_long_flag_takes_one_dash_or_two(path):
    command = command_at(path)
    parser = command.make_parser(click.Context(command))
    for param in command.params:
        for name in [name for name in param.opts if name.startswith("--")] if isinstance(param, click.Option) else []:
            if isinstance(param, click.Option) and param.hidden:
                continue
            for spelling in (name, name[1:]):
                values, _rest, _order = parser.parse_args([spelling] if param.is_flag else [f"{spelling}=x"])
                assert param.name in values, spelling


def test_a_misspelt_flag_is_answered_with_the_nearest_one(run):
    assert "did you mean -detailed?" in run("members", "-detialed")[2]


def test_a_misspelt_command_is_answered_with_the_nearest_one(run):
    code, _out, err = run("intentoin")
    assert code == 1
    assert 'no such command "intentoin" (did you mean intention?)' in err


def test_a_group_without_a_command_lists_what_there_is_and_fails(run):
    code, out, _err = run("catalog")
    assert code == 1
    assert "datacenters" in out


def test_help_lists_every_command_without_importing_them():
    script = (
        "import sys; from chowk.cli import run; run(['-help']);"
        "loaded = [m for m in sys.modules if m.startswith('chowk.agent.')];"
        "print([m for m in loaded if not m.endswith(('.commands', '.command'))])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for name in COMMANDS:
        assert f"  {name} " in done.stdout


@pytest.mark.parametrize("module", ["asyncio", "aiohttp", "msgspec", "http.client", "ssl"])
def test_version_imports_nothing_slow(module):
    script = f"import sys; from chowk.cli import run; run(['version']); print({module!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines() == [f"chowk v{__version__}", *done.stdout.splitlines()[1:-1], "False"]


def test_a_reader_that_goes_away_ends_the_command_quietly():
    command = [sys.executable, "-m", "chowk", "-help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        deadline = time.monotonic() + 30
        assert process.wait(deadline - time.monotonic()) in (0, 1)


def test_the_shell_completes_commands_and_flags_from_the_table():
    script = "import os; os.environ.update(_CHOWK_COMPLETE='bash_complete', COMP_WORDS='chowk int', COMP_CWORD='1');"
    script += "from chowk.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.strip() == "plain,intention"


def test_a_failure_of_any_depth_carries_its_commands_exit_code():
    class Picky(Command):
        error_code = 7

    group = Group("outer")

    @group.command("inner", cls=Picky)
    def inner() -> None:
        raise click.UsageError("no")

    with pytest.raises(click.ClickException) as caught:
        group.main(["inner"], standalone_mode=False)
    assert caught.value.code == 7  # type: ignore[attr-defined]


@pytest.mark.parametrize(("line", "said"), [
    (["-http-addr=127.0.0.1:1", "members"], "flags stand behind the command: chowk COMMAND -http-addr=127.0.0.1:1"),
    (["intention", "-stale", "list"], "flags stand behind the command: chowk intention COMMAND -stale"),
])  # fmt: skip
def test_a_flag_before_the_command_is_sent_to_its_place(
    line: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(line) == 1
    assert said in capsys.readouterr().err
