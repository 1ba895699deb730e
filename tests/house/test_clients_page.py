"""What docs/compatibility.md says of real clients is what the tests with them say."""

from __future__ import annotations

import client_page


def test_the_page_says_of_clients_what_their_tests_say() -> None:
    page = client_page.PAGE.read_text()
    assert page == client_page.replaced(page), "run integration/client_page.py"
