"""The example file and ``docs/configuration.md``: every key once, the defaults and pairs of the program."""

import re
from decimal import Decimal
from pathlib import Path

from settings_samples import fields_of_settings, write

from wonttrade_dagster.core.model import RuntimeMode
from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS, SANDBOX_AGENT_PRIVATE_KEY
from wonttrade_dagster.settings import LEGAL_NETWORKS, TABLES, load_settings

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "wonttrade.toml.example"
DOCUMENT = ROOT / "docs" / "configuration.md"


def test_the_example_is_valid_as_it_stands_and_uses_the_sandbox(tmp_path: Path) -> None:
    loaded = load_settings(write(tmp_path, EXAMPLE.read_text(encoding="utf-8")))
    assert loaded.runtime.mode is RuntimeMode.TESTNET
    assert loaded.hyperliquid.network == "local"
    assert loaded.venue_url == "http://127.0.0.1:8600"
    assert loaded.llm.base_url == "http://127.0.0.1:8601/v1"
    assert loaded.credentials.account_address == SANDBOX_ACCOUNT_ADDRESS.lower()
    assert loaded.credentials.agent_private_key.get_secret_value() == SANDBOX_AGENT_PRIVATE_KEY


def _keys_in(lines: list[str], heading: str, key: str) -> list[tuple[str, str]]:
    """``(table, key)`` of every key that ``lines`` show, given the patterns of a heading and of a key."""
    found, table = [], ""
    for line in lines:
        if match := re.match(heading, line):
            table = match[1]
        elif match := re.match(key, line):
            found.append((table, match[1]))
    return found


def test_the_example_shows_every_key_once_with_a_comment() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    shown = _keys_in(lines, r"(?:# )?\[([\w.]+)\]", r"(?:# )?(\w+) = ")
    assert sorted(shown) == sorted(fields_of_settings())
    assert all(
        re.search(r" # .*(No default|Default)", line) for line in lines if re.match(r"(# )?\w+ = ", line)
    )


def test_the_document_describes_every_key_once() -> None:
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    shown = _keys_in(lines, r"## `\[([\w.]+)\]`", r"\| `([a-z_]+)` \|")
    assert sorted(shown) == sorted(fields_of_settings())


def _as_toml(value: object) -> str:
    text = "[]" if value == () else repr(value)
    return f"`{text}`".replace("'", '"').replace("False", "false").replace("True", "true")


def test_the_document_tells_the_defaults_that_the_program_uses() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for table, model in TABLES.items():
        section = text.split(f"## `[{table}]`")[1].split("\n## ")[0]
        for key, field in model.model_fields.items():
            row = next((line for line in section.splitlines() if line.startswith(f"| `{key}` |")), None)
            if row is None:
                assert (table, key) == ("llm", "azure")
            elif field.is_required():
                assert "| none |" in row, row
            elif field.default is not None:
                default = field.default
                shown = f"`{default:g}`" if isinstance(default, float | Decimal) else _as_toml(default)
                assert f"| {shown} |" in row, row


def test_the_document_has_the_legal_pairs() -> None:
    rows = re.findall(r"^\| `([A-Z]+)` \| (.+?) \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    documented = {mode: tuple(re.findall(r"`(\w+)`", networks)) for mode, networks in rows}
    assert documented == {mode.value: networks for mode, networks in LEGAL_NETWORKS.items()}
