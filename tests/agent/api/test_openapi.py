"""The description of the API: every route is in it, and what it says of requests and answers is true."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from chowk.agent.api.openapi import document, plain_path
from chowk.agent.api.openapi_operations import OPERATIONS
from chowk.agent.api.openapi_parameters import PARAMETERS
from chowk.agent.api.routes import ROUTES
from support.api_thread import api_in_thread
from support.http_api import Api, with_api

DOCUMENT = document(ROUTES)
EXAMPLES = 4
BOUNDED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
CHECKS = (status_code_conformance, content_type_conformance, response_schema_conformance)
UNAVAILABLE = (
    "No path to datacenter",
    "No cluster leader",
    "Missing node registration",
    "Cannot modify non-existent prepared query",
    "invalid session ",
)
"""What Consul answers with a 500 that is no fault."""
LEFT_OUT = {
    "GET /v1/agent/monitor": "it never ends",
    "GET /v1/agent/tap": "it goes on for minutes",
}
FUZZED = [
    (method.upper(), path)
    for path, operations in DOCUMENT["paths"].items()
    for method in operations
    if f"{method.upper()} {path}" not in LEFT_OUT
]


def test_every_route_is_described_and_nothing_else() -> None:
    routes = {f"{method} {plain_path(route.path)}" for route in ROUTES for method in route.methods}
    assert routes == set(OPERATIONS)


def test_every_operation_says_what_it_is_for_and_what_it_answers() -> None:
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            assert {"200", "400", "500"} <= set(operation["responses"]), (method, path)
    ids = [operation["operationId"] for operations in DOCUMENT["paths"].values() for operation in operations.values()]
    assert len(ids) == len(set(ids))


def test_every_parameter_that_is_described_is_taken_by_a_route() -> None:
    used = {name for operation in OPERATIONS.values() for name in operation.query}
    assert set(PARAMETERS) - used == {"dc", "token", "pretty"}


def test_the_description_is_served(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        answer = await api.get("/v1/openapi.json")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
        assert answer.json()["openapi"] == "3.1.0"
        assert answer.json()["paths"].keys() == DOCUMENT["paths"].keys()

    with_api(tmp_path, body)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with api_in_thread(tmp_path_factory.mktemp("openapi")) as made:
        yield made


@pytest.fixture(scope="module")
def schema() -> Any:
    return schemathesis.openapi.from_dict(DOCUMENT)


def judge(case: Any, url: str) -> None:
    """Send it: no fault of ours, and an answer that the description has."""
    if "index" in (case.query or {}):
        case.query["wait"] = "1ms"
    if "hash" in (case.query or {}):
        case.query["wait"] = "1ms"
    response = case.call(base_url=url, timeout=10)
    if response.status_code >= 500:
        assert response.text.startswith(UNAVAILABLE) or response.status_code == 501, (
            response.request.url,
            response.text,
        )
    case.validate_response(response, checks=CHECKS)


@pytest.mark.parametrize(("method", "path"), FUZZED, ids=lambda value: value)
def test_no_request_brings_a_fault_or_an_answer_that_is_not_described(
    schema: Any, url: str, method: str, path: str
) -> None:
    operation = schema[path][method]

    @given(case=operation.as_strategy())
    @BOUNDED
    def attempt(case: Any) -> None:
        judge(case, url)

    attempt()


@pytest.mark.parametrize(("method", "path"), FUZZED, ids=lambda value: value)
def test_no_wrong_request_brings_a_fault_or_an_answer_that_is_not_described(
    schema: Any, url: str, method: str, path: str
) -> None:
    try:
        strategy = schema[path][method].as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)
    except schemathesis.errors.SchemathesisError as error:
        pytest.skip(f"nothing can be wrong: {error}")

    @given(case=strategy)
    @BOUNDED
    def attempt(case: Any) -> None:
        judge(case, url)

    attempt()


def test_an_answer_that_is_not_described_would_be_seen(schema: Any, url: str) -> None:
    response = requests.get(f"{url}/v1/status/leader", timeout=10)
    response.status_code = 418
    with pytest.raises(FailureGroup):
        schema["/v1/status/leader"]["GET"].Case().validate_response(response, checks=CHECKS)
