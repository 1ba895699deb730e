"""What holds for every command line: flags, help, exit codes, laziness."""

from __future__ import annotations

import subprocess
import sys
import time

import click
import pytest

from chowk import __version__
from chowk.agent.commands import go_flags
from chowk.agent.commands.command import Command, Flag, Group
from chowk.cli import ABSENT, COMMANDS, root, run

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


def parsed(path: tuple[str, ...], words: list[str]) -> dict[str, object]:
    """What a command line sets, with what the command needs besides."""
    command = command_at(path)
    given = words[0].lstrip("-").partition("=")[0]
    needed = [
        f"{param.opts[0]}=1"
        for param in command.params
        if isinstance(param, click.Option) and param.required and f"--{given}" not in param.opts
    ]
    arguments = ["a" for param in command.params if isinstance(param, click.Argument) for _ in range(abs(param.nargs))]
    return command.make_context(path[-1], [*words, *needed, *arguments]).params


def flags_of(path: tuple[str, ...]) -> list[tuple[str, click.Option]]:
    options = [param for param in command_at(path).params if isinstance(param, Flag) and param.expose_value]
    return [(name.lstrip("-"), option) for option in options for name in option.opts]


@pytest.mark.parametrize("path", [*LEAVES, ("agent",)], ids=" ".join)
def test_every_flag_with_a_value_is_read_in_each_of_gos_spellings(path):
    for name, option in flags_of(path):
        if option.is_flag:
            continue
        value = option.type.choices[0] if isinstance(option.type, click.Choice) else "1"
        spellings = [[f"-{name}={value}"], [f"--{name}={value}"]]
        if option.type is not click.BOOL:
            spellings += [[f"-{name}", value], [f"--{name}", value]]
        found = [parsed(path, words)[option.name] for words in spellings]
        assert all(each == found[0] for each in found), (name, found)
        assert str(found[0]) not in ("=1", "[]", ""), name


@pytest.mark.parametrize("path", [*LEAVES, ("agent",)], ids=" ".join)
def test_every_switch_is_read_in_each_of_gos_spellings(path):
    for name, option in flags_of(path):
        if not (option.is_flag or option.type is click.BOOL):
            continue
        for dashes in ("-", "--"):
            for ending, wanted in (("", True), ("=true", True), ("=T", True), ("=false", False), ("=0", False)):
                assert bool(parsed(path, [f"{dashes}{name}{ending}"])[option.name]) == wanted, (name, ending)
        with pytest.raises(click.ClickException):
            parsed(path, [f"-{name}=perhaps"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lock", "-nn=2", "x", "true"], "no such flag: -nn (did you mean -n?)"),
        (["lock", "-m=2", "x", "true"], "no such flag: -m (did you mean -monitor-retry?)"),
        (["members", "-f=x"], "no such flag: -f (did you mean -filter or -format?)"),
        (["members", "-foo", "-detaild"], "no such flag: -foo\n"),
        (["kv", "get", "a", "-recurs"], "no such flag: -recurs (did you mean -recurse?)"),
        (["kv", "put", "a", "b", "-flag=3"], "no such flag: -flag (did you mean -flags?)"),
        (["lock", "x", "-n"], ""),
        (["event", "-name"], "flag needs an argument: -name"),
        (["members", "-http-auth=a:b"], "no such flag: -http-auth"),
        (["members", "-detailed=perhaps"], '-detailed is a switch, true or false, and not "perhaps"'),
    ],
)
def test_a_wrong_flag_is_answered_with_what_was_meant(run, words, said):
    code, _out, err = run(*words)
    assert code != 0
    assert said in err


def test_a_value_of_a_key_may_begin_with_a_dash(run, agent):
    agent.on("PUT", "/v1/kv/a", True)
    assert run("kv", "put", "a", "-5")[0] == 0
    assert agent.last.body == -5


@pytest.mark.parametrize("value", ["-5", "-----BEGIN CERTIFICATE-----\nabc", "-x=y", "--flag"])
def test_what_stands_behind_a_key_is_its_value_unless_it_is_a_flag(value):
    options = go_flags.names_of(command_at(("kv", "put")).params, Flag)
    for words in (["a", value, "-cas"], ["-cas", "a", value], ["-cas", "--", "a", value]):
        if value == "--flag" and "--" not in words:
            with pytest.raises(click.NoSuchOption):
                go_flags.read_line(words, options, free=True)
            continue
        line = go_flags.read_line(words, options, free=True)
        assert (line.flags, line.arguments) == (["--cas"], ["a", value])


def test_a_childs_flags_are_its_own_and_so_is_its_double_dash():
    line = go_flags.read_line(["-n=2", "p", "git", "-n", "--", "x"], {"n": click.Option(["-n"])}, interspersed=False)
    assert line.words() == ["-n", "2", "--", "p", "git", "-n", "--", "x"]


def test_a_misspelt_flag_is_answered_with_the_nearest_one(run):
    assert "did you mean -detailed?" in run("members", "-detialed")[2]


def test_a_misspelt_command_is_answered_with_the_nearest_one(run):
    code, _out, err = run("intentoin")
    assert code == 1
    assert 'no such command "intentoin" (did you mean intention?)' in err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["acl", "token", "list"], "there is no chowk acl: access control is not there yet"),
        (["exec", "-verbose", "ls"], "there is no chowk exec: nothing is run on other hosts"),
        (
            ["connect", "envoy", "-sidecar-for", "web"],
            "there is no chowk connect envoy: the built-in proxy takes its place",
        ),
        (["operator", "usage", "instances"], "there is no chowk operator usage: "),
    ],
)
def test_a_command_of_consuls_that_is_not_there_says_why(run, line, said):
    code, out, err = run(*line)
    assert (code, out) == (1, "")
    assert said in err


def test_no_command_that_is_there_is_said_to_be_absent():
    assert not set(ABSENT) & set(COMMANDS)


def test_a_group_without_a_command_lists_what_there_is_and_fails(run):
    code, out, _err = run("catalog")
    assert code == 1
    assert "datacenters" in out


def test_help_lists_every_command_without_importing_them():
    script = (
        "import sys; from chowk.cli import run; run(['-help']);"
        "loaded = [m for m in sys.modules if m.startswith('chowk.agent.')];"
        "print([m for m in loaded if not m.endswith(('.commands', '.command', '.go_flags'))])"
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
