"""``wonttrade.toml``: what is accepted, what is refused, and how that is said."""

import re
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wonttrade_dagster.core.errors import ConfigurationError
from wonttrade_dagster.core.model import RuntimeMode
from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS, SANDBOX_AGENT_PRIVATE_KEY
from wonttrade_dagster.settings import LEGAL_NETWORKS, TABLES, load_settings

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "wonttrade.toml.example"
DOCUMENT = ROOT / "docs" / "configuration.md"
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


def test_the_example_is_valid_as_it_stands_and_uses_the_sandbox(tmp_path: Path) -> None:
    loaded = load_settings(write(tmp_path, EXAMPLE.read_text(encoding="utf-8")))
    assert loaded.runtime.mode is RuntimeMode.TESTNET
    assert loaded.hyperliquid.network == "local"
    assert loaded.venue_url == "http://127.0.0.1:8600"
    assert loaded.llm.base_url == "http://127.0.0.1:8601/v1"
    assert loaded.credentials.account_address == SANDBOX_ACCOUNT_ADDRESS.lower()
    assert loaded.credentials.agent_private_key.get_secret_value() == SANDBOX_AGENT_PRIVATE_KEY


def _fields() -> set[tuple[str, str]]:
    return {(table, key) for table, model in TABLES.items() for key in model.model_fields} - {
        ("llm", "azure")
    }


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
    assert sorted(shown) == sorted(_fields())
    assert all(
        re.search(r" # .*(No default|Default)", line) for line in lines if re.match(r"(# )?\w+ = ", line)
    )


def test_the_document_describes_every_key_once() -> None:
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    shown = _keys_in(lines, r"## `\[([\w.]+)\]`", r"\| `([a-z_]+)` \|")
    assert sorted(shown) == sorted(_fields())


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


def test_paper_is_refused_in_one_sentence(tmp_path: Path) -> None:
    lines = problems(tmp_path, runtime__mode='"PAPER"', hyperliquid__network='"mainnet"')
    assert len(lines) == 1
    assert lines[0].startswith("runtime.mode: found PAPER, expected LIVE, TESTNET or BACKTEST")


@pytest.mark.parametrize("second_yes", [None, '""', '"0x' + "11" * 20 + '"'])
def test_live_without_its_second_yes_is_refused(tmp_path: Path, second_yes: str | None) -> None:
    changes = {"runtime__mode": '"LIVE"', "hyperliquid__network": '"mainnet"'}
    (line,) = problems(tmp_path, **changes, runtime__live_account=second_yes)
    assert line.startswith("runtime.live_account: found")
    assert "credentials.account_address" in line


def test_the_second_yes_may_be_spelled_in_another_case(tmp_path: Path) -> None:
    changes = {"runtime__mode": '"LIVE"', "hyperliquid__network": '"mainnet"'}
    changes["runtime__live_account"] = f'"{ADDRESS.lower()}"'
    assert load_settings(write(tmp_path, toml(**changes))).family == "live"


def test_a_missing_file_says_what_to_copy(tmp_path: Path) -> None:
    path = tmp_path / "wonttrade.toml"
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path)
    assert str(caught.value) == f"No wonttrade.toml at {path}: copy wonttrade.toml.example"
    assert caught.value.exit_code == 2


def test_a_folder_in_place_of_the_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_settings(tmp_path)


def test_a_syntax_error_names_its_line_and_hides_the_file(tmp_path: Path) -> None:
    text = toml() + "[oops\n"
    message = refusal(tmp_path, text)
    assert f"line {text.count(chr(10))}" in message
    assert PRIVATE_KEY not in message


def test_a_syntax_error_keeps_no_cause_that_could_print_the_document(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(write(tmp_path, toml() + "[oops\n"))
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_bytes_that_are_no_text_are_named_with_their_line(tmp_path: Path) -> None:
    assert "line 2: not UTF-8" in refusal(tmp_path, b"# one\n\xff\xfe\n")


def test_deep_nesting_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    assert "wonttrade.toml" in refusal(tmp_path, "a = " + "[" * 5000 + "]" * 5000)


def test_every_error_is_listed_at_once(tmp_path: Path) -> None:
    lines = problems(
        tmp_path,
        runtime__mode='"PAPER"',
        runtime__cycle_minutes="7",
        credentials__account_address='"abc"',
        hyperliquid__network='"main"',
        symbols__tracked='["BTC", "BTC"]',
        llm__provider='"azure"',
        llm__temperature="3",
        risk__max_leverage="true",
        telemetry__log_path=None,
        execution__typo="1",
    )
    assert {line.split(":")[0] for line in lines} == {
        "runtime.mode",
        "runtime.cycle_minutes",
        "credentials.account_address",
        "credentials.azure_openai_api_key",
        "hyperliquid.network",
        "symbols.tracked",
        "llm.azure",
        "llm.temperature",
        "risk.max_leverage",
        "telemetry.log_path",
        "execution.typo",
    }
    assert all(re.search(r": found .+, expected .+", line) for line in lines)


def test_an_empty_file_lists_every_field_without_a_default(tmp_path: Path) -> None:
    lines = refusal(tmp_path, "").splitlines()[1:]
    named = {line.strip().split(":")[0] for line in lines}
    required = {
        f"{table}.{key}"
        for table, model in TABLES.items()
        if table != "llm.azure"
        for key, field in model.model_fields.items()
        if field.is_required()
    }
    assert named == required


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"runtime__mode": "3"}, "runtime.mode: found 3, expected LIVE"),
        ({"runtime__mode": '"live"'}, 'runtime.mode: found "live", expected LIVE'),
        ({"runtime__cycle_minutes": "0"}, "runtime.cycle_minutes: found 0"),
        ({"runtime__cycle_minutes": "5.0"}, "runtime.cycle_minutes: found 5.0"),
        ({"runtime__cycle_minutes": '"5"'}, 'runtime.cycle_minutes: found "5"'),
        ({"runtime__cycle_minutes": "true"}, "runtime.cycle_minutes: found true"),
        ({"runtime__autostart": "1"}, "runtime.autostart: found 1, expected true or false"),
        ({"runtime__data_dir": '""'}, "runtime.data_dir:"),
        ({"runtime__live": '""'}, "runtime.live: found an unknown key, expected live_account"),
        (
            {"hyperliquid__base_url": '"http://127.0.0.1:1"'},
            "hyperliquid.base_url: found an address, expected none",
        ),
        ({"hyperliquid__network": '"local"'}, "hyperliquid.base_url: found nothing"),
        ({"symbols__tracked": "[]"}, "symbols.tracked: found []"),
        ({"symbols__tracked": '"BTC"'}, 'symbols.tracked: found "BTC"'),
        ({"symbols__tracked": '["B TC"]'}, 'symbols.tracked: found ["B TC"]'),
        ({"symbols__long_interval": '"5m"'}, "symbols.long_interval:"),
        ({"symbols__intraday_interval": '"7m"'}, "symbols.intraday_interval:"),
        ({"symbols__series_points": "200", "symbols__history_bars": "100"}, "symbols.series_points:"),
        ({"llm__temperature": '"hot"'}, "llm.temperature:"),
        ({"llm__temperature": "nan"}, "llm.temperature:"),
        ({"llm__base_url": '"ftp://x"'}, "llm.base_url:"),
        ({"llm__base_url": '"https://x:99999999"'}, "llm.base_url:"),
        ({"llm__prompt": '"../secret"'}, "llm.prompt:"),
        (
            {"llm__deadline_seconds": "300", "execution__max_decision_age_seconds": "300"},
            "llm.deadline_seconds: found 300, expected less than a cycle",
        ),
        ({"llm__deadline_seconds": "inf"}, "llm.deadline_seconds: found Infinity"),
        ({"llm__azure": "3"}, "llm.azure: found"),
        ({"risk__max_position_usd": "0"}, "risk.max_position_usd: found 0"),
        ({"risk__max_position_usd": "-5.5"}, "risk.max_position_usd: found -5.5"),
        ({"risk__max_position_usd": "nan"}, "risk.max_position_usd: found NaN"),
        ({"risk__max_leverage": "2.5"}, "risk.max_leverage: found 2.5"),
        ({"execution__crossed_stop": '"wait"'}, "execution.crossed_stop:"),
        ({"execution__slippage_bps": "-1"}, "execution.slippage_bps:"),
        ({"execution__max_decision_age_seconds": "301"}, "execution.max_decision_age_seconds:"),
        ({"execution__max_decision_age_seconds": "10"}, "execution.max_decision_age_seconds:"),
        ({"runtime__max_cycle_seconds": "300"}, "runtime.max_cycle_seconds:"),
        ({"resilience__max_price_jump_fraction": "0"}, "resilience.max_price_jump_fraction: found 0"),
        ({"resilience__start_lead_seconds": "0"}, "resilience.start_lead_seconds:"),
        ({"telemetry__metrics_path": '"b.ndjson"'}, "telemetry.metrics_path: found the path of"),
        ({"backtest__cycle_minutes": "11"}, "backtest.cycle_minutes:"),
        ({"backtest__max_concurrent_runs": "0"}, "backtest.max_concurrent_runs:"),
        ({"unknown__key": "1"}, "unknown: found an unknown table"),
        (azure(), 'llm.azure: found a table, expected none because llm.provider = "openai"'),
        ({"credentials__openai_api_key": None}, "credentials.openai_api_key: found nothing"),
        (
            {"credentials__openai_api_key": '"short"'},
            "credentials.openai_api_key: found text of 5 characters",
        ),
        (
            {"credentials__agent_private_key": '"0x' + "00" * 32 + '"'},
            "credentials.agent_private_key: found text",
        ),
    ],
)
def test_one_wrong_field_is_one_line_that_names_it(
    tmp_path: Path, changes: dict[str, str | None], start: str
) -> None:
    (line,) = problems(tmp_path, **changes)
    assert line.startswith(start), line


@pytest.mark.parametrize(
    "key", ["with a space", "with-a-quote-'", "1234567", "umlaut-ä-key", "back\\slash", 'quote"quote']
)
def test_an_api_key_that_cannot_be_redacted_or_sent_is_refused(tmp_path: Path, key: str) -> None:
    literal = "'" + key + "'" if "'" not in key else '"' + key + '"'
    lines = outcome(tmp_path, toml(credentials__openai_api_key=literal)).splitlines()[1:]
    assert bool(lines) is (key != "with-a-quote-'")
    assert not [line for line in lines if key in line]


def test_a_key_before_the_first_table_is_named(tmp_path: Path) -> None:
    assert "mode: found an unknown key outside of any table" in refusal(tmp_path, 'mode = "LIVE"\n' + toml())


def test_azure_needs_its_table_and_its_key(tmp_path: Path) -> None:
    changes = azure() | {"llm__provider": '"azure"', "credentials__azure_openai_api_key": f'"{API_KEY}"'}
    loaded = load_settings(write(tmp_path, toml(**changes, credentials__openai_api_key=None)))
    assert loaded.llm.azure.endpoint == "https://x.openai.azure.com"
    assert loaded.llm_api_key.get_secret_value() == API_KEY
    (line,) = problems(tmp_path, **changes | {"llm_azure__deployment": None})
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


@pytest.mark.parametrize("path", sorted(f"{t}__{k}" for t, k in _fields() if t != "llm.azure"))
@pytest.mark.parametrize("secret", [PRIVATE_KEY, PRIVATE_KEY + "00", "sk-proj-abcdefghijklmnop"])
def test_a_secret_in_the_wrong_line_is_never_shown(tmp_path: Path, path: str, secret: str) -> None:
    is_text = path.split("__")[1] in ("model", "reasoning_effort", "service_tier")
    message = outcome(tmp_path, toml(**{path: f'["{secret}"]' if is_text else f'"{secret}"'}))
    assert secret[:20] not in message


_values = st.one_of(
    st.none(),
    st.sampled_from(
        ["true", "-1", "0", "3", "4.5", "nan", "inf", '""', '"x"', "[]", '["A"]', "{}", "1979-05-27", '"BTC"']
    ),
    st.integers().map(str),
    st.floats().map(str),
    st.text(
        alphabet=st.characters(codec="ascii", exclude_characters='"\\', categories=["L", "N", "P", "Zs"])
    ).map(lambda t: f'"{t}"'),
)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(sorted(f"{t}__{k}" for t, k in _fields() if "." not in t)), _values, max_size=4
    )
)
def test_any_values_are_either_accepted_or_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, str | None]
) -> None:
    path = write(tmp_path_factory.getbasetemp(), toml(**{k: v for k, v in changes.items() if v is not None}))
    lines = outcome(path.parent, path.read_bytes()).splitlines()
    known = {f"{t}.{k}" for t, k in _fields()} | {"llm.azure"}
    assert {line.strip().split(":")[0] for line in lines[1:]} <= known
    assert len(lines) != 1


@pytest.mark.parametrize("day", ['"2025-06-01"', "2025-06-01"])
def test_a_knowledge_cutoff_is_a_day_of_a_model(tmp_path: Path, day: str) -> None:
    rows = f'[{{ model = "gpt", date = {day} }}, {{ model = "other", date = "2024-02-29" }}]'
    llm = load_settings(write(tmp_path, toml(llm__knowledge_cutoffs=rows))).llm
    assert llm.knowledge_cutoff("gpt") == date(2025, 6, 1)
    assert llm.knowledge_cutoff("other") == date(2024, 2, 29)
    assert llm.knowledge_cutoff("unheard-of") is None


@pytest.mark.parametrize(
    "rows",
    [
        '[{ model = "gpt", date = "2025-6-1" }]',
        '[{ model = "gpt", date = "2025-02-30" }]',
        '[{ model = "gpt", date = "20250601" }]',
        '[{ model = "gpt", date = 2025-06-01T00:00:00Z }]',
        '[{ model = "gpt", date = 20250601 }]',
        '[{ model = "gpt" }]',
        '[{ model = "gpt", date = 2025-06-01 }, { model = "gpt", date = 2025-06-02 }]',
        '{ model = "gpt", date = 2025-06-01 }',
    ],
)
def test_a_knowledge_cutoff_that_is_no_day_or_said_twice_is_refused(tmp_path: Path, rows: str) -> None:
    (problem,) = problems(tmp_path, llm__knowledge_cutoffs=rows)
    assert problem.startswith("llm.knowledge_cutoffs")
