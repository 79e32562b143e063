"""``wonttrade.toml``: what is accepted, and what the program makes of it."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from settings_samples import ADDRESS, API_KEY, PRIVATE_KEY, azure, problems, toml, write

from wonttrade_dagster.core.errors import ConfigurationError
from wonttrade_dagster.core.model import RuntimeMode
from wonttrade_dagster.settings import LEGAL_NETWORKS, load_settings

AZURE = azure() | {"llm__provider": '"azure"', "credentials__azure_openai_api_key": f'"{API_KEY}"'}


def test_a_minimal_file_gets_the_safe_defaults(tmp_path: Path) -> None:
    loaded = load_settings(write(tmp_path, toml()))
    assert loaded.runtime.autostart is False
    assert loaded.credentials.account_address == ADDRESS.lower()
    assert loaded.execution.taker_fee_bps == Decimal("4.5")
    assert loaded.risk.max_gross_exposure_usd == Decimal("1500.5")
    assert loaded.symbols.tracked == ("BTC", "ETH")
    assert loaded.llm.sampling_temperature == 0.0
    assert loaded.max_cycle_seconds == 295
    assert loaded.backtest_cycle_minutes == 5
    assert loaded.family == "testnet"
    assert loaded.llm_api_key.get_secret_value() == API_KEY


def test_paths_are_relative_to_the_folder_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    write(folder, toml(runtime__data_dir='"../d"'))
    monkeypatch.chdir(tmp_path)
    loaded = load_settings(Path("there/wonttrade.toml"))
    assert loaded.path == folder / "wonttrade.toml"
    assert loaded.data_dir == tmp_path / "d"
    assert loaded.prompts_dir == folder / "prompts"
    assert loaded.log_path == folder / "logs" / "a.ndjson"
    assert loaded.decision_log_path == folder / "b.ndjson"
    assert loaded.heartbeat_path == folder / "c.json"
    assert loaded.metrics_path == Path("/var/d.prom")


def test_the_hash_is_that_of_the_bytes_and_changes_with_a_comment(tmp_path: Path) -> None:
    first = load_settings(write(tmp_path, toml()))
    same = load_settings(write(tmp_path, toml()))
    other = load_settings(write(tmp_path, toml() + "# note\n"))
    assert first.sha256 == same.sha256 != other.sha256


@pytest.mark.parametrize(
    ("before", "after", "is_same"),
    [
        (toml(), "# note\n" + toml(), True),
        (toml(), toml(credentials__openai_api_key='"canary-api-key-9"'), True),
        (toml(), toml(llm__base_url='"http://127.0.0.1:8/v1"'), True),
        (toml(), toml(telemetry__log_path='"other.ndjson"'), True),
        (toml(**AZURE), toml(**AZURE | {"llm_azure__endpoint": '"https://y.openai.azure.com/"'}), True),
        (toml(**AZURE), toml(**AZURE | {"llm_azure__deployment": '"other"'}), False),
        (toml(), toml(llm__model='"other"'), False),
        (toml(), toml(risk__max_leverage="2"), False),
        (toml(), toml(backtest__taker_fee_bps="4.4"), False),
    ],
)
def test_the_hash_of_the_choices_leaves_out_what_no_result_depends_on(
    tmp_path: Path, before: str, after: str, is_same: bool
) -> None:
    first = load_settings(write(tmp_path, before))
    second = load_settings(write(tmp_path, after))
    assert first.sha256 != second.sha256
    assert (first.choices_sha256 == second.choices_sha256) is is_same


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(tmp_path: Path) -> None:
    text = toml().replace("\n", "\r\n")
    assert load_settings(write(tmp_path, b"\xef\xbb\xbf" + text.encode())).family == "testnet"


def test_environment_variables_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_settings(write(tmp_path, toml()))
    for name in ("OPENAI_API_KEY", "RUNTIME__MODE", "MODE", "LLM__MODEL", "OPENAI_BASE_URL", "DATA_DIR"):
        monkeypatch.setenv(name, "LIVE")
    assert load_settings(before.path) == before


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    loaded = load_settings(write(tmp_path, toml()))
    with pytest.raises(ValueError, match="frozen"):
        loaded.risk.max_leverage = 50


@pytest.mark.parametrize(
    ("network", "url"),
    [("mainnet", "https://api.hyperliquid.xyz"), ("testnet", "https://api.hyperliquid-testnet.xyz")],
)
def test_the_venue_url_is_the_exact_string_that_the_sdk_compares(
    tmp_path: Path, network: str, url: str
) -> None:
    changes = {"runtime__mode": '"BACKTEST"', "hyperliquid__network": f'"{network}"'}
    assert load_settings(write(tmp_path, toml(**changes))).venue_url == url


@pytest.mark.parametrize(
    ("mode", "network", "legal"),
    [
        (mode, network, network in networks and mode is not RuntimeMode.PAPER)
        for mode, networks in LEGAL_NETWORKS.items()
        for network in ("mainnet", "testnet", "local")
    ],
)
def test_only_the_legal_pairs_of_mode_and_network_are_accepted(
    tmp_path: Path, mode: RuntimeMode, network: str, legal: bool
) -> None:
    changes = {"runtime__mode": f'"{mode}"', "hyperliquid__network": f'"{network}"'}
    changes |= {"hyperliquid__base_url": '"http://127.0.0.1:8600"'} if network == "local" else {}
    changes |= {"runtime__live_account": f'"{ADDRESS}"'} if mode is RuntimeMode.LIVE else {}
    path = write(tmp_path, toml(**changes))
    if legal:
        assert load_settings(path).family == mode.lower()
    else:
        with pytest.raises(ConfigurationError, match="expected"):
            load_settings(path)


def test_the_second_yes_may_be_spelled_in_another_case(tmp_path: Path) -> None:
    changes = {"runtime__mode": '"LIVE"', "hyperliquid__network": '"mainnet"'}
    changes["runtime__live_account"] = f'"{ADDRESS.lower()}"'
    assert load_settings(write(tmp_path, toml(**changes))).family == "live"


def test_azure_needs_its_table_and_its_key(tmp_path: Path) -> None:
    loaded = load_settings(write(tmp_path, toml(**AZURE, credentials__openai_api_key=None)))
    assert loaded.llm.azure.endpoint == "https://x.openai.azure.com"
    assert loaded.llm_api_key.get_secret_value() == API_KEY
    (line,) = problems(tmp_path, **AZURE | {"llm_azure__deployment": None})
    assert line.startswith("llm.azure.deployment: found nothing")


@pytest.mark.parametrize(("text", "sent"), [('"unset"', None), ("0", 0.0), ("0.7", 0.7), ("2", 2.0)])
def test_the_temperature_can_be_left_out(tmp_path: Path, text: str, sent: float | None) -> None:
    assert load_settings(write(tmp_path, toml(llm__temperature=text))).llm.sampling_temperature == sent


def test_one_minute_cycles_work_with_the_defaults(tmp_path: Path) -> None:
    loaded = load_settings(write(tmp_path, toml(runtime__cycle_minutes="1")))
    assert loaded.llm.deadline_seconds < loaded.max_cycle_seconds < 60


def test_secrets_are_in_no_representation_of_the_settings(tmp_path: Path) -> None:
    loaded = load_settings(write(tmp_path, toml()))
    shown = f"{loaded!r} {loaded} {loaded.model_dump()} {loaded.model_dump_json()}"
    assert set(loaded.secret_values()) == {PRIVATE_KEY, API_KEY}
    assert not [secret for secret in loaded.secret_values() if secret in shown]


@pytest.mark.parametrize("day", ['"2025-06-01"', "2025-06-01"])
def test_a_knowledge_cutoff_is_a_day_of_a_model(tmp_path: Path, day: str) -> None:
    rows = f'[{{ model = "gpt", date = {day} }}, {{ model = "other", date = "2024-02-29" }}]'
    llm = load_settings(write(tmp_path, toml(llm__knowledge_cutoffs=rows))).llm
    assert llm.knowledge_cutoff("gpt") == date(2025, 6, 1)
    assert llm.knowledge_cutoff("other") == date(2024, 2, 29)
    assert llm.knowledge_cutoff("unheard-of") is None
