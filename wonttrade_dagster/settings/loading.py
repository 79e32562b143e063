"""``wonttrade.toml`` into frozen ``Settings``: the only way configuration enters the program.

Belongs here: reading the file once, listing everything that is wrong with it, the resolved view of it.
Does not belong here: environment variables (never read), connecting to anything.
"""

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from hyperliquid.utils.constants import MAINNET_API_URL, TESTNET_API_URL
from pydantic import SecretStr

from wonttrade_dagster.core.errors import ConfigurationError
from wonttrade_dagster.core.model import RuntimeMode
from wonttrade_dagster.settings.draft import Draft, unknown_tables
from wonttrade_dagster.settings.rules import CYCLE_MARGIN_SECONDS, RULES
from wonttrade_dagster.settings.tables import (
    BacktestTable,
    CredentialsTable,
    ExecutionTable,
    HyperliquidTable,
    IndicatorsTable,
    LlmTable,
    ResilienceTable,
    RiskTable,
    RuntimeTable,
    SymbolsTable,
    Table,
    TelemetryTable,
)

Family = Literal["live", "testnet", "paper", "backtest"]

_FAMILIES: dict[RuntimeMode, Family] = {
    RuntimeMode.LIVE: "live",
    RuntimeMode.TESTNET: "testnet",
    RuntimeMode.PAPER: "paper",
    RuntimeMode.BACKTEST: "backtest",
}


class Settings(Table):
    """The whole configuration, frozen, together with the file it came from.

    Attributes:
        path: the file, absolute; relative paths inside it start at its folder.
        sha256: hex digest of the file's bytes, so that two processes can tell whether they agree.
        choices_sha256: hex digest of what the file says, but for what a backtest may go on with when it has
            changed: credentials, the address of the model, telemetry.
    """

    path: Path
    sha256: str
    choices_sha256: str
    runtime: RuntimeTable
    credentials: CredentialsTable
    hyperliquid: HyperliquidTable
    symbols: SymbolsTable
    indicators: IndicatorsTable
    llm: LlmTable
    risk: RiskTable
    execution: ExecutionTable
    resilience: ResilienceTable
    telemetry: TelemetryTable
    backtest: BacktestTable

    def resolve(self, path: str) -> Path:
        """A path of the configuration; a relative one starts at the file's folder."""
        return Path(os.path.normpath(self.path.parent / path))

    @property
    def data_dir(self) -> Path:
        """Everything written at run time goes below this."""
        return self.resolve(self.runtime.data_dir)

    @property
    def prompts_dir(self) -> Path:
        """The prompt templates; read, never written."""
        return self.resolve(self.runtime.prompts_dir)

    @property
    def log_path(self) -> Path:
        """Structured log, JSON lines."""
        return self.resolve(self.telemetry.log_path)

    @property
    def decision_log_path(self) -> Path:
        """The journal."""
        return self.resolve(self.telemetry.decision_log_path)

    @property
    def heartbeat_path(self) -> Path:
        """The heartbeat, one JSON object."""
        return self.resolve(self.telemetry.heartbeat_path)

    @property
    def metrics_path(self) -> Path:
        """Prometheus text."""
        return self.resolve(self.telemetry.metrics_path)

    @property
    def family(self) -> Family:
        """The asset key prefix of the configured mode."""
        return _FAMILIES[self.runtime.mode]

    @property
    def venue_url(self) -> str:
        """The SDK's own constants: it compares exactly that string to choose how to sign."""
        fixed = {"mainnet": MAINNET_API_URL, "testnet": TESTNET_API_URL}
        return fixed.get(self.hyperliquid.network) or self._local_url()

    def _local_url(self) -> str:
        if self.hyperliquid.base_url is None:
            raise ConfigurationError('hyperliquid.base_url: found nothing, expected it with network "local"')
        return self.hyperliquid.base_url

    @property
    def cycle_seconds(self) -> int:
        """The length of a cycle."""
        return self.runtime.cycle_minutes * 60

    @property
    def max_cycle_seconds(self) -> float:
        """How long after its minute a cycle may go on; 5 s less than a cycle unless configured."""
        return self.runtime.max_cycle_seconds or self.cycle_seconds - CYCLE_MARGIN_SECONDS

    @property
    def backtest_cycle_minutes(self) -> int:
        """The cadence of a backtest."""
        return self.backtest.cycle_minutes or self.runtime.cycle_minutes

    @property
    def llm_api_key(self) -> SecretStr:
        """The key of the chosen provider."""
        keys = {"openai": self.credentials.openai_api_key, "azure": self.credentials.azure_openai_api_key}
        key = keys[self.llm.provider]
        if key is None:
            raise ConfigurationError(
                f"credentials: found no API key for llm.provider = {self.llm.provider!r}"
            )
        return key

    def secret_values(self) -> tuple[str, ...]:
        """Every secret in clear, for the redaction of what is written. Hand it to nothing else."""
        held = [getattr(self.credentials, name) for name in CredentialsTable.model_fields]
        return tuple(secret.get_secret_value() for secret in held if isinstance(secret, SecretStr))


def load_settings(path: Path) -> Settings:
    """Read and judge ``wonttrade.toml``.

    Args:
        path: the file.

    Raises:
        ConfigurationError: the file is missing, is no TOML, or holds at least one wrong field; the message
            lists all of them, one line each, and no secret.
    """
    path = path.absolute()
    content = _read(path)
    document = _parse(path, content)
    draft = Draft(_flat(document))
    problems = [*unknown_tables(document), *draft.problems()]
    problems += [line for rule in RULES for line in rule(draft)]
    if problems:
        raise ConfigurationError(_listing(path, problems))
    told = {
        "path": path,
        "sha256": hashlib.sha256(content).hexdigest(),
        "choices_sha256": _choices_sha256(document),
    }
    return Settings.model_validate(_tables(document) | told)


def _choices_sha256(document: Mapping[str, Any]) -> str:
    chosen = {name: table for name, table in document.items() if name not in {"credentials", "telemetry"}}
    chosen["llm"] = {name: value for name, value in document["llm"].items() if name != "base_url"}
    if "azure" in chosen["llm"]:
        azure = chosen["llm"]["azure"].items()
        chosen["llm"]["azure"] = {name: value for name, value in azure if name != "endpoint"}
    return hashlib.sha256(json.dumps(chosen, sort_keys=True, default=str).encode()).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigurationError(f"No {path.name} at {path}: copy wonttrade.toml.example") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(f"{path} cannot be read ({reason}): make it a readable file") from None


def _parse(path: Path, content: bytes) -> dict[str, Any]:
    # "from None": the original errors carry the whole document, keys included.
    try:
        return tomllib.loads(content.decode("utf-8-sig"), parse_float=Decimal)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigurationError(f"{path}, line {line}: not UTF-8: save the file as UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}: correct that line") from None


def _flat(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Tables by name, ``llm.azure`` beside ``llm``; whatever is no table is left to ``unknown_tables``."""
    tables = {name: dict(value) for name, value in document.items() if isinstance(value, dict)}
    azure = tables.get("llm", {}).get("azure")
    if isinstance(azure, dict):
        tables["llm.azure"] = tables["llm"].pop("azure")
    return tables


def _tables(document: dict[str, Any]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"indicators": {}, "execution": {}, "resilience": {}, "backtest": {}}
    return defaults | document


def _listing(path: Path, problems: list[str]) -> str:
    count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
    return "\n".join([f"{path} has {count}:", *(f"  {line}" for line in problems)])
