from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from chowk.agent.local.registrations import Registrations
from chowk.agent.local.state import LocalState
from chowk.core.definitions import CheckDefinition, Position, ServiceDefinition
from support.local_agent import make_local, meshed

WEB = CheckDefinition(id="up", http="http://127.0.0.1:80/", header={"A": ("1",), "B": ("2",)}, interval_s=10.0)


def agent(folder: Path, *checks: CheckDefinition, boot: str = "boot-1") -> LocalState:
    """An agent with this data_dir has started; its files define `checks`."""
    local = make_local(Registrations(folder, boot))
    local.load((ServiceDefinition(name="web"),), checks)
    return local


def statuses(local: LocalState) -> dict[str, str]:
    return {key: entry.check.status for key, entry in local.checks.items()}


def state_files(folder: Path) -> list[Path]:
    return sorted((folder / "checks" / "state").iterdir())


def test_checks_of_files_of_the_api_and_of_sidecars_start_as_they_were(tmp_path: Path) -> None:
    def start() -> LocalState:
        local = make_local(Registrations(tmp_path, "boot-1"))
        local.load((meshed("web", 80),), (WEB,))
        return local

    local = start()
    local.register_service(ServiceDefinition(name="api", checks=(CheckDefinition(tcp="127.0.0.1:81"),)), "api")
    local.register_check(CheckDefinition(name="disk", args=("df",)), "api")
    assert len(local.checks) == 5
    for number, check_id in enumerate(sorted(local.checks)):
        local.update_check(check_id, "warning" if number == 0 else "passing", f"said {number}")
    again = start()
    assert {key: entry.check for key, entry in again.checks.items()} == {
        key: entry.check for key, entry in local.checks.items()
    }
    assert all(entry.restored for entry in again.checks.values())
    third = start()
    assert statuses(third) == statuses(local), "and again, though none ran in between"


def test_a_restored_status_is_no_longer_so_called_once_a_run_confirms_it(tmp_path: Path) -> None:
    agent(tmp_path, WEB).update_check("up", "passing", "well")
    again = agent(tmp_path, WEB)
    again.update_check("up", "passing", "well")
    assert not again.checks["up"].restored


@pytest.mark.parametrize(
    "changed",
    [
        {"http": "http://127.0.0.1:81/"},
        {"http": "", "tcp": "127.0.0.1:80"},
        {"service_id": "web"},
        {"header": {"A": ("1",)}},
        {"alias_service": "web"},
        {"status": "warning"},
    ],
)
def test_a_check_that_looks_at_something_else_starts_anew(tmp_path: Path, changed: dict[str, Any]) -> None:
    agent(tmp_path, WEB).update_check("up", "passing", "well")
    other = msgspec.structs.replace(WEB, **changed)
    again = agent(tmp_path, other)
    assert statuses(again) == {"up": other.status or "critical"}
    assert not again.checks["up"].restored
    assert statuses(agent(tmp_path, WEB)) == {"up": "critical"}, "what was not believed once never is"


def test_another_name_place_or_pace_or_order_of_headers_changes_nothing(tmp_path: Path) -> None:
    agent(tmp_path, WEB).update_check("up", "passing", "well")
    same = msgspec.structs.replace(
        WEB, name="new", position=Position(file="b.hcl", line=3), interval_s=5.0, header={"B": ("2",), "A": ("1",)}
    )
    assert statuses(agent(tmp_path, same)) == {"up": "passing"}


@pytest.mark.parametrize(("before", "after"), [("boot-1", "boot-2"), ("boot-1", ""), ("", "")])
def test_after_a_reboot_or_where_boots_have_no_names_every_check_starts_anew(
    tmp_path: Path, before: str, after: str
) -> None:
    agent(tmp_path, WEB, boot=before).update_check("up", "passing", "well")
    assert bool(state_files(tmp_path)) == bool(before)
    assert statuses(agent(tmp_path, WEB, boot=after)) == {"up": "critical"}


def test_only_a_change_of_status_is_written_and_no_more_of_the_output_than_is_useful(tmp_path: Path) -> None:
    local = agent(tmp_path, WEB)
    local.update_check("up", "passing", "é" * 100_000)
    (path,) = state_files(tmp_path)
    assert path.stat().st_size < 6000
    written = path.read_bytes()
    local.update_check("up", "passing", "another text")
    assert path.read_bytes() == written
    local.update_check("up", "critical", "gone")
    assert statuses(agent(tmp_path, WEB)) == {"up": "critical"}
    assert agent(tmp_path, WEB).checks["up"].check.output == "gone"


def test_a_redefined_check_is_kept_as_what_it_is_since_the_reload(tmp_path: Path) -> None:
    local = agent(tmp_path, WEB)
    local.update_check("up", "passing", "well")
    other = msgspec.structs.replace(WEB, http="http://127.0.0.1:81/")
    local.load((ServiceDefinition(name="web"),), (other,))
    local.update_check("up", "passing", "well")
    assert statuses(agent(tmp_path, other)) == {"up": "passing"}


def test_a_check_that_was_removed_and_comes_back_starts_anew(tmp_path: Path) -> None:
    local = agent(tmp_path, WEB)
    local.update_check("up", "passing", "well")
    local.deregister_check("up")
    assert state_files(tmp_path) == []
    local.register_check(WEB, "file")
    local.update_check("up", "passing", "well")
    assert statuses(agent(tmp_path, WEB)) == {"up": "passing"}, "and is kept again"


@pytest.mark.parametrize("damage", [b"", b'{"check_id": "up"', b"\xff\x00", b'{"check_id":"up","status":7}'])
def test_a_damaged_status_is_told_and_passed_over(
    tmp_path: Path, damage: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    agent(tmp_path, WEB).update_check("up", "passing", "well")
    (path,) = state_files(tmp_path)
    path.write_bytes(damage)
    assert statuses(agent(tmp_path, WEB)) == {"up": "critical"}
    assert str(path) in capsys.readouterr().out


def test_a_status_that_is_none_is_told_and_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agent(tmp_path, WEB).update_check("up", "passing", "well")
    (path,) = state_files(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"passing", b"splendid"))
    assert statuses(agent(tmp_path, WEB)) == {"up": "critical"}
    assert "splendid" in capsys.readouterr().out


def test_what_a_kill_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    agent(tmp_path, WEB).update_check("up", "passing", "well")
    (path,) = state_files(tmp_path)
    path.with_name("0123.tmp").write_bytes(b"{")
    assert statuses(agent(tmp_path, WEB)) == {"up": "passing"}
    assert state_files(tmp_path) == [path]


def test_a_disk_that_refuses_a_status_harms_nothing_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    local = agent(tmp_path, WEB)
    with monkeypatch.context() as patched:
        patched.setattr(Registrations, "save_state", full)
        local.update_check("up", "passing", "well")
    assert statuses(local) == {"up": "passing"}
    local.update_check("up", "passing", "well")
    assert statuses(agent(tmp_path, WEB)) == {"up": "passing"}


def test_maintenance_mode_outlives_a_restart(tmp_path: Path) -> None:
    local = agent(tmp_path, WEB)
    local.update_check("up", "passing", "well")
    local.set_service_maintenance("web", True, "upgrade")
    local.set_node_maintenance(True)
    again = agent(tmp_path, WEB)
    assert statuses(again) == {"up": "passing", "_service_maintenance:web": "critical", "_node_maintenance": "critical"}
    again.set_node_maintenance(False)
    assert "_node_maintenance" not in statuses(agent(tmp_path, WEB))


def test_without_a_data_dir_nothing_is_kept() -> None:
    local = make_local()
    local.load((), (WEB,))
    local.update_check("up", "passing", "well")
    assert statuses(local) == {"up": "passing"}
    again = make_local()
    again.load((), (WEB,))
    assert statuses(again) == {"up": "critical"}
