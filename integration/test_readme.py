"""The documents' console blocks, command by command: the README's first ten minutes, and the cluster on one machine."""

from __future__ import annotations

from pathlib import Path

from harness.ports import free_port
from harness.reader import Reader
from support.documents import blocks

PORTS = ("8500", "8600", "9100", "9101", "9200")


def test_the_first_ten_minutes_are_as_written(tmp_path: Path) -> None:
    ports = {port: str(free_port()) for port in PORTS}
    reader = Reader(
        tmp_path,
        ports,
        flags=f" -http-port={ports['8500']} -dns-port={ports['8600']}",
        environment_extra={"CHOWK_HTTP_ADDR": f"127.0.0.1:{ports['8500']}"},
    )
    for block in blocks("hcl"):
        if block.document.name == "README.md" and block.file_name:
            (tmp_path / block.file_name).write_text(reader.adapted(block.text))
    try:
        for block in blocks("console"):
            if block.document.name == "README.md":
                reader.follow(block)
    finally:
        reader.close()


def test_the_cluster_on_one_machine_is_as_written(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    try:
        for block in blocks("console"):
            if block.document.name == "cluster.md":
                reader.follow(block)
    finally:
        reader.close()
