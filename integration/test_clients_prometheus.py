"""Monitoring as Debian packages it: targets found through an agent's catalog, and the agent itself scraped.

Debian builds its Prometheus without Consul's discovery. `consul_sd_configs` are therefore given to VictoriaMetrics, which
reads the same configuration: typed Go over blocking queries. Prometheus scrapes the agent, and promtool judges.
"""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.agent import AgentProcess
from harness.clients import shows
from harness.ports import free_port
from harness.waiting import eventually

DISCOVERY = "VictoriaMetrics"
CLIENT = "Prometheus"
DISCOVER = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: services
    consul_sd_configs:
      - {{server: "127.0.0.1:{port}", tags: [scraped], node_meta: {{rack: r12}}}}
    relabel_configs:
      - {{source_labels: [__meta_consul_service], target_label: service}}
      - {{source_labels: [__meta_consul_health], target_label: health}}
  - job_name: one
    consul_sd_configs: [{{server: "127.0.0.1:{port}", services: [web], allow_stale: false}}]
"""
SCRAPE = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: agent
    metrics_path: /v1/agent/metrics
    params: {{format: [prometheus]}}
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


class Scraper:
    """A monitoring server of its own, in `folder`, that answers Prometheus's API. `flags` may name {folder} and {listen}."""

    def __init__(self, folder: Path, config: str, agent_port: int, *flags: str) -> None:
        self.port = free_port()
        self.log = folder / "scraper.log"
        (folder / "scrape.yml").write_text(config.format(port=agent_port))
        command = [flag.format(folder=folder, listen=f"127.0.0.1:{self.port}") for flag in flags]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)

    def get(self, path: str) -> Any:
        """The data of one answer of its API."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}", timeout=10) as reply:
            return json.load(reply)["data"]

    def targets(self, job: str) -> dict[str, dict[str, Any]]:
        """The job's targets by address."""
        rows = self.get("targets?state=active")["activeTargets"]
        return {row["discoveredLabels"]["__address__"]: row for row in rows if row["scrapePool"] == job}

    def __enter__(self) -> Scraper:
        eventually(lambda: self.get("targets?state=active"), f"the scraper\n{self.log.read_text()}", 30)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def victoria(folder: Path, port: int) -> Scraper:
    """Debian's victoria-metrics, which reads the scrape configuration of Prometheus and discovers as it does."""
    folders = ("-promscrape.config={folder}/scrape.yml", "-storageDataPath={folder}/data")
    pace = ("-promscrape.consulSDCheckInterval=1s", "-promscrape.consul.waitTime=20s", "-memory.allowedBytes=64MB")
    return Scraper(folder, DISCOVER, port, "victoria-metrics", "-httpListenAddr={listen}", *folders, *pace)


def prometheus(folder: Path, port: int) -> Scraper:
    """Debian's Prometheus. It is built without Consul's discovery, so it scrapes only."""
    folders = ("--config.file={folder}/scrape.yml", "--storage.tsdb.path={folder}/tsdb")
    return Scraper(folder, SCRAPE, port, "prometheus", "--web.listen-address={listen}", *folders)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path_factory.mktemp("agent"), 'node_meta { rack = "r12" }') as made:
        yield made


@pytest.fixture(scope="module")
def scraper(agent: AgentProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraper]:
    with victoria(tmp_path_factory.mktemp("victoria"), agent.http_port) as made:
        yield made
        assert [line for line in made.log.read_text().splitlines() if "error" in line and "consul" in line] == []


@shows(DISCOVERY, "`consul_sd_configs`: targets come and go with the services, by tags, node_meta and name")
def test_targets_come_and_go_with_the_services(agent: AgentProcess, scraper: Scraper) -> None:
    agent.put("/v1/agent/service/register", {"ID": "web-1", "Name": "web", "Port": 1001, "Tags": ["scraped"]})
    agent.put("/v1/agent/service/register", {"ID": "db-1", "Name": "db", "Port": 1002, "Tags": ["kept-out"]})
    eventually(lambda: list(scraper.targets("services")) == ["127.0.0.1:1001"], "the target of web", 30)
    eventually(lambda: list(scraper.targets("one")) == ["127.0.0.1:1001"], "the target by name", 30)
    agent.put("/v1/agent/service/register", {"ID": "web-2", "Name": "web", "Port": 1003, "Tags": ["scraped", "b"]})
    both = ["127.0.0.1:1001", "127.0.0.1:1003"]
    eventually(lambda: sorted(scraper.targets("services")) == both, "a second instance", 30)
    agent.put("/v1/agent/service/deregister/web-1")
    eventually(lambda: list(scraper.targets("services")) == ["127.0.0.1:1003"], "one instance left", 30)
    agent.put("/v1/agent/service/deregister/web-2")
    agent.put("/v1/agent/service/deregister/db-1")
    eventually(lambda: scraper.targets("services") == {}, "no target left", 30)


@shows(DISCOVERY, "`__meta_consul_*` labels, with health as it changes")
def test_the_labels_of_a_target_say_what_the_catalog_says(agent: AgentProcess, scraper: Scraper) -> None:
    agent.put(
        "/v1/agent/service/register",
        {
            "ID": "api-1",
            "Name": "api",
            "Address": "127.0.0.9",
            "Port": 2001,
            "Tags": ["scraped", "v2"],
            "Meta": {"team": "x"},
            "TaggedAddresses": {"wan": {"Address": "127.0.0.10", "Port": 81}},
            "Check": {"TTL": "60s", "CheckID": "beat", "Status": "passing"},
        },
    )
    labels = eventually(lambda: scraper.targets("services").get("127.0.0.9:2001"), "the target", 30)["discoveredLabels"]
    told = {name.removeprefix("__meta_consul_"): value for name, value in labels.items() if "__meta_" in name}
    assert told == {
        "address": "127.0.0.1",
        "dc": "dc1",
        "health": "passing",
        "metadata_rack": "r12",
        "namespace": "",
        "node": "host1",
        "service": "api",
        "service_address": "127.0.0.9",
        "service_id": "api-1",
        "service_metadata_team": "x",
        "service_port": "2001",
        "tagged_address_lan": "127.0.0.1",
        "tagged_address_wan": "127.0.0.1",
        "tags": ",scraped,v2,",
    }

    def health() -> str:
        return str(scraper.targets("services")["127.0.0.9:2001"]["discoveredLabels"]["__meta_consul_health"])

    agent.put("/v1/agent/check/warn/beat")
    eventually(lambda: health() == "warning", "warning", 30)
    agent.put("/v1/agent/check/fail/beat")
    eventually(lambda: health() == "critical", "critical", 30)
    agent.put("/v1/agent/service/deregister/api-1")


@shows(CLIENT, "scraping `/v1/agent/metrics?format=prometheus`; `promtool check metrics`")
def test_the_agent_itself_is_scraped_without_complaint(agent: AgentProcess, tmp_path: Path) -> None:
    with prometheus(tmp_path, agent.http_port) as scraping:
        scrapes(scraping, agent)
    _status, headers, text = agent.request("GET", "/v1/agent/metrics?format=prometheus")
    assert headers["Content-Type"].startswith("text/plain")
    judged = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=30)
    assert (judged.returncode, judged.stdout + judged.stderr) == (0, b"")


def scrapes(prometheus: Scraper, agent: AgentProcess) -> None:
    address = f"127.0.0.1:{agent.http_port}"
    row = eventually(
        lambda: prometheus.targets("agent")[address]["health"] == "up" and prometheus.targets("agent"), "up", 30
    )
    assert row[address]["lastError"] == ""
    found = eventually(lambda: prometheus.get("query?query=up%7Bjob%3D%22agent%22%7D")["result"], "a sample", 30)
    assert found[0]["value"][1] == "1"


@shows(DISCOVERY, "targets outlive a restart of the agent")
def test_a_restarted_agent_gets_its_watcher_back(tmp_path: Path) -> None:
    agent = AgentProcess(tmp_path, 'node_meta { rack = "r12" }', dev=False)
    with agent:
        agent.put("/v1/agent/service/register", {"Name": "web", "Port": 1001, "Tags": ["scraped"]})
        with victoria(tmp_path, agent.http_port) as scraper:
            eventually(lambda: "127.0.0.1:1001" in scraper.targets("services"), "the target", 30)
            agent.stop()
            assert "127.0.0.1:1001" in scraper.targets("services")
            agent.start()
            agent.put("/v1/agent/service/register", {"Name": "late", "Port": 1002, "Tags": ["scraped"]})
            eventually(lambda: "127.0.0.1:1002" in scraper.targets("services"), "the late target", 60)
            assert "127.0.0.1:1001" in scraper.targets("services")
