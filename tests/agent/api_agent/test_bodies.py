"""Bodies that register: how Consul's clients write them, and what is a mistake in JSON."""

from __future__ import annotations

import pytest

from chowk.agent.api.agent_bodies import decode_check_body, decode_service_body
from chowk.agent.api.errors import HttpError


def test_of_an_id_and_a_check_id_the_id_counts() -> None:
    assert decode_check_body({"Name": "up", "ID": "a", "CheckID": "b", "TTL": "10s"}).id == "a"
    assert decode_check_body({"Name": "up", "ID": "", "CheckID": "b", "TTL": "10s"}).id == "b"
    assert decode_check_body({"Name": "up", "CheckID": "b", "TTL": "10s"}).id == "b"


@pytest.mark.parametrize("tags", ["one", [1], {"a": "b"}, [None], 7])
def test_tags_that_are_no_list_of_strings_are_refused(tags: object) -> None:
    with pytest.raises(HttpError, match="Tags: expected a list of strings") as refused:
        decode_service_body({"Name": "web", "Tags": tags})
    assert refused.value.status == 400


@pytest.mark.parametrize("tags", [None, [], ["a", "b"]])
def test_tags_may_be_none_at_all(tags: list[str] | None) -> None:
    assert decode_service_body({"Name": "web", "Tags": tags}).tags == tuple(tags or ())
