"""A minimal ``wonttrade.toml``, its keys changed at will, and what loading it says."""

from pathlib import Path

import pytest

from wonttrade_dagster.core.errors import ConfigurationError
from wonttrade_dagster.settings import TABLES, load_settings

ADDRESS = "0x" + "aB" * 20
PRIVATE_KEY = "0x" + "5e" * 32
API_KEY = "canary-api-key-0123456789"

MINIMAL = {
    "runtime": {"mode": '"TESTNET"'},
    "credentials": {
        "account_address": f'"{ADDRESS}"',
        "agent_private_key": f'"{PRIVATE_KEY}"',
        "openai_api_key": f'"{API_KEY}"',
    },
    "hyperliquid": {"network": '"testnet"'},
    "symbols": {"tracked": '["BTC", "ETH"]'},
    "llm": {"provider": '"openai"', "model": '"gpt"'},
    "risk": {"max_position_usd": "1000", "max_gross_exposure_usd": "1500.5", "max_leverage": "3"},
    "telemetry": {
        "log_path": '"logs/a.ndjson"',
        "decision_log_path": '"b.ndjson"',
        "heartbeat_path": '"c.json"',
        "metrics_path": '"/var/d.prom"',
    },
}
AZURE = {"endpoint": '"https://x.openai.azure.com/"', "deployment": '"d"', "api_version": '"2025-01-01"'}


def toml(**changes: str | None) -> str:
    """The minimal file; ``table__key=value`` sets a key, None removes it, ``table=None`` removes a table."""
    tables = {name: dict(keys) for name, keys in MINIMAL.items()}
    for path, value in changes.items():
        table, _, key = path.partition("__")
        table = table.replace("llm_azure", "llm.azure")
        if not key:
            tables.pop(table, None)
        elif value is None:
            tables[table].pop(key, None)
        else:
            tables.setdefault(table, {})[key] = value
    lines = []
    for name, keys in tables.items():
        lines += [f"[{name}]", *(f"{key} = {value}" for key, value in keys.items())]
    return "\n".join(lines) + "\n"


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "wonttrade.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(folder: Path, text: str | bytes) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(write(folder, text))
    return str(caught.value)


def outcome(folder: Path, text: str | bytes) -> str:
    """The refusal's text, empty when the file is accepted."""
    try:
        load_settings(write(folder, text))
    except ConfigurationError as error:
        return str(error)
    return ""


def problems(folder: Path, **changes: str | None) -> list[str]:
    return [line.strip() for line in refusal(folder, toml(**changes)).splitlines()[1:]]


def azure() -> dict[str, str]:
    return {f"llm_azure__{key}": value for key, value in AZURE.items()}


def fields_of_settings() -> set[tuple[str, str]]:
    """``(table, key)`` of every key that the file may hold."""
    return {(table, key) for table, model in TABLES.items() for key in model.model_fields} - {
        ("llm", "azure")
    }
