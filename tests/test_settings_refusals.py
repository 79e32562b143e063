"""A ``wonttrade.toml`` that is refused: every wrong field by name, and never a secret."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from settings_samples import PRIVATE_KEY, azure, fields_of_settings, outcome, problems, refusal, toml, write

from wonttrade_dagster.core.errors import ConfigurationError
from wonttrade_dagster.settings import TABLES, load_settings


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


@pytest.mark.parametrize("path", sorted(f"{t}__{k}" for t, k in fields_of_settings() if t != "llm.azure"))
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
        st.sampled_from(sorted(f"{t}__{k}" for t, k in fields_of_settings() if "." not in t)),
        _values,
        max_size=4,
    )
)
def test_any_values_are_either_accepted_or_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, str | None]
) -> None:
    path = write(tmp_path_factory.getbasetemp(), toml(**{k: v for k, v in changes.items() if v is not None}))
    lines = outcome(path.parent, path.read_bytes()).splitlines()
    known = {f"{t}.{k}" for t, k in fields_of_settings()} | {"llm.azure"}
    assert {line.strip().split(":")[0] for line in lines[1:]} <= known
    assert len(lines) != 1


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
