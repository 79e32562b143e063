"""The sandbox's control, as every folder of tests uses it: prices, faults, time and state by HTTP."""

from collections.abc import Callable
from typing import Any

import requests

from wonttrade_dagster.sandbox.server import Sandbox

Control = Callable[[str, Any], Any]
"""Posts a body to one of the control endpoints and gives the answer."""


def control_of(sandbox: Sandbox) -> Control:
    """Posts to that sandbox; an answer other than 200 fails the test."""

    def post(name: str, body: Any) -> Any:
        answer = requests.post(f"{sandbox.venue_url}/sandbox/{name}", json=body, timeout=20)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return post
