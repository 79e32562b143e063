"""What the tests of the sandbox share beside fixtures: JSON's type, the recordings, the money identities."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

RECORDINGS = Path(__file__).parents[3] / "shared" / "venue"

Json = Any
"""Whatever JSON holds: a test reads it by its keys."""


def recording(name: str) -> Json:
    """A file of the shared recordings; skips the test where they are not at hand."""
    path = RECORDINGS / name
    if not path.exists():
        pytest.skip(f"the venue's recordings are not beside the checkout ({name})")
    return json.loads(path.read_text(encoding="utf-8"))


def assert_identities(state: dict[str, Any]) -> None:
    """Protocol §10.1 on an answer of the venue."""
    positions = [row["position"] for row in state["assetPositions"]]
    values = [Decimal(p["positionValue"]) for p in positions]
    signed = sum(v if Decimal(p["szi"]) > 0 else -v for v, p in zip(values, positions, strict=True))
    summary = {key: Decimal(value) for key, value in state["marginSummary"].items()}
    assert summary["accountValue"] == summary["totalRawUsd"] + signed
    assert summary["totalNtlPos"] == sum(values)
    for position, value in zip(positions, values, strict=True):
        if position["leverage"]["type"] == "cross":
            used = value / position["leverage"]["value"]
            assert abs(Decimal(position["marginUsed"]) - used) <= Decimal("0.000001")
