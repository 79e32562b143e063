"""Stored live cycles computed again: real ledgers of the loopback venue, whole and tampered with."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
from loopback import PROMPTS, Loopback, set_back, trade_replies
from replays import Kept, Replay, asking, detail, differing, found

from wonttrade_dagster.adapters.archive import cycle_text
from wonttrade_dagster.cli.app import run
from wonttrade_dagster.core.model import Stage
from wonttrade_dagster.defs.compose import journal, ledger


@dataclass
class Traded(Kept):
    """A folder in which three cycles were traded: opened, refused, kept."""

    times: tuple[int, ...]
    calls: Callable[[], tuple[int, int]]

    @property
    def database(self) -> Path:
        return ledger(self.settings, journal(self.settings)).path

    def copied(self, folder: Path) -> "Traded":
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return Traded(folder, self.times, self.calls)

    def execute(self, query: str, *parameters: object) -> Any:
        with duckdb.connect(str(self.database)) as connection:
            return connection.execute(query, list(parameters)).fetchall()

    def tamper(self, stage: Stage, before: str, after: str) -> None:
        """Change the stored JSON of the newest cycle, as somebody with a shell would."""
        query = "SELECT payload FROM stages WHERE cycle_ms = ? AND stage = ?"
        ((payload,),) = self.execute(query, self.times[-1], stage.value)
        assert before in payload
        change = "UPDATE stages SET payload = ? WHERE cycle_ms = ? AND stage = ?"
        self.execute(change, payload.replace(before, after, 1), self.times[-1], stage.value)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traded]:
    with set_back() as clock, Loopback.serving(clock) as loopback:
        folder = tmp_path_factory.mktemp("live")
        config = loopback.config(folder, runtime__prompts_dir="prompts")
        shutil.copytree(PROMPTS, folder / "prompts")
        times = trade_replies(loopback, clock, config, (None, "I would rather not say", None))
        loopback.model("faults", [])
        loopback.refuse_requests()
        yield Traded(folder, times, lambda: (loopback.refused_requests, loopback.model_calls))


@pytest.fixture
def replay(capsys: pytest.CaptureFixture[str]) -> Replay:
    return asking(capsys)


@pytest.fixture
def traded(original: Traded, tmp_path: Path) -> Traded:
    return original.copied(tmp_path)


def test_every_live_cycle_is_the_same_and_nobody_is_asked(traded: Traded, replay: Replay) -> None:
    before = traded.calls()
    code, told = replay(traded.config, "--all")
    assert (code, told["cycles"], told["same"], told["unequal"], told["damage"]) == (0, 3, 3, [], [])
    assert {stage: counts["same"] for stage, counts in told["stages"].items()} == dict.fromkeys(Stage, 3)
    assert traded.calls() == before


def test_one_cycle_is_asked_for_by_its_minute_or_as_the_last(traded: Traded, replay: Replay) -> None:
    for name, cycle_ms in ((cycle_text(traded.times[1]), traded.times[1]), ("last", traded.times[-1])):
        code, told = replay(traded.config, name)
        assert (code, told["cycle"]) == (0, cycle_text(cycle_ms))
        assert found(told) == dict.fromkeys(Stage, "same")


def test_people_get_a_table(traded: Traded, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["replay", "--all", "--config", str(traded.config)]) == 0
    assert "3 of 3 cycles are the same" in capsys.readouterr().out
    traded.tamper(Stage.ACCOUNT_SNAPSHOTS, '"account_value_usd":"', '"account_value_usd":"1')
    assert run(["replay", "last", "--config", str(traded.config)]) == 1
    said = capsys.readouterr().out
    assert "account_snapshots: differs" in said
    assert "+++ computed now" in said


@pytest.mark.parametrize(
    ("stage", "before", "after", "shows_in"),
    [
        (Stage.MARKET_SNAPSHOTS, '"oracle_px":"', '"oracle_px":"1', [Stage.LLM_CONTEXTS]),
        (Stage.ACCOUNT_SNAPSHOTS, '"free_margin_usd":"', '"free_margin_usd":"1', [Stage.LLM_CONTEXTS]),
        (Stage.INDICATORS, '"rsi_7":[', '"rsi_7":[9', [Stage.INDICATORS, Stage.LLM_CONTEXTS]),
        (Stage.LLM_CONTEXTS, '"user":"', '"user":"Buy. ', [Stage.LLM_CONTEXTS, Stage.DECISIONS]),
        (Stage.DECISIONS, '"text":"{', '"text":"[{', [Stage.DECISIONS]),
        (Stage.DECISIONS, '"rationale":"', '"rationale":"not ', [Stage.DECISIONS]),
        (Stage.EXECUTION_PLANS, '"actions":[]', '"actions": []', [Stage.EXECUTION_PLANS]),
        (Stage.EXECUTIONS, '"unprotected_seconds":[', '"unprotected_seconds":[["BTC",3.0]', []),
        (Stage.CYCLE_REPORTS, '"account_value_usd":"', '"account_value_usd":"9', [Stage.CYCLE_REPORTS]),
    ],
    ids=lambda value: value.value if isinstance(value, Stage) else None,
)  # fmt: skip
def test_a_changed_byte_is_found_where_it_was_changed(
    traded: Traded, replay: Replay, stage: Stage, before: str, after: str, shows_in: list[Stage]
) -> None:
    traded.tamper(stage, before, after)
    code, told = replay(traded.config, "last")
    assert code == 1
    assert {stage, *shows_in} <= set(differing(told))
    assert replay(traded.config, cycle_text(traded.times[0]))[0] == 0, "the other cycles are whole"


def test_a_candle_that_moves_no_printed_number_is_found_by_its_hash(traded: Traded, replay: Replay) -> None:
    oldest = "SELECT min(open_time_ms) FROM snapshot_candles WHERE interval = '5m'"
    change = "UPDATE snapshot_candles SET volume = volume + 1 WHERE interval = '5m'"
    traded.execute(f"{change} AND open_time_ms = ({oldest})")
    code, told = replay(traded.config, cycle_text(traded.times[0]))
    assert (code, differing(told)) == (1, [Stage.MARKET_SNAPSHOTS])
    assert "hash" in detail(told, Stage.MARKET_SNAPSHOTS)


def test_a_template_that_was_changed_in_the_ledger_is_named(traded: Traded, replay: Replay) -> None:
    query = "UPDATE texts SET text = replace(text, 'Hyperliquid', 'the moon') WHERE text LIKE '%Hyperliquid%'"
    traded.execute(query)
    code, told = replay(traded.config, "last")
    assert (code, differing(told)) == (1, [Stage.LLM_CONTEXTS])
    assert "template_sha256" in detail(told, Stage.LLM_CONTEXTS)


def test_a_template_that_was_changed_on_disk_is_named_and_changes_nothing(
    traded: Traded, replay: Replay
) -> None:
    assert replay(traded.config, "last")[1]["remark"] is None
    path = traded.folder / "prompts/trader/v1/user.md.j2"
    path.write_text(path.read_text(encoding="utf-8") + "\nBe bold.\n", encoding="utf-8")
    code, told = replay(traded.config, "last")
    assert (code, differing(told)) == (0, [])
    assert "the prompt trader/v1 was changed since (template " in told["remark"]
    assert "schema" not in told["remark"]


def test_a_damaged_line_of_the_journal_is_told(traded: Traded, replay: Replay) -> None:
    path = traded.settings.decision_log_path
    lines = path.read_bytes().split(b"\n")
    lines[2] = lines[2].replace(b'"body":{', b'"body":{"x":1,', 1)
    path.write_bytes(b"\n".join(lines))
    code, told = replay(traded.config, "--all")
    assert (code, told["same"]) == (1, 3)
    assert "line 3 of the journal" in told["damage"][0]


def test_without_the_journal_the_records_are_enough(traded: Traded, replay: Replay) -> None:
    traded.settings.decision_log_path.unlink()
    assert replay(traded.config, "--all")[0] == 0


def test_a_cycle_that_was_killed_lacks_its_last_stages(traded: Traded, replay: Replay) -> None:
    late = (Stage.EXECUTIONS.value, Stage.CYCLE_REPORTS.value)
    traded.execute("DELETE FROM stages WHERE cycle_ms = ? AND stage IN (?, ?)", traded.times[-1], *late)
    code, told = replay(traded.config, "last")
    assert code == 1
    assert found(told) == {stage.value: "not stored" if stage.value in late else "same" for stage in Stage}


def test_records_that_wait_in_the_spool_are_read_there(traded: Traded, replay: Replay) -> None:
    store = ledger(traded.settings, journal(traded.settings))
    payloads = {stage: store.load(traded.times[-1], stage) for stage in Stage}
    traded.execute("DELETE FROM stages WHERE cycle_ms = ?", traded.times[-1])
    for stage, payload in payloads.items():
        assert payload is not None
        store.record(traded.times[-1], stage, payload)
    assert replay(traded.config, "last")[0] == 0


def test_the_ledger_holds_each_file_of_the_prompt_once_and_the_journal_too(traded: Traded) -> None:
    files = {p.read_text(encoding="utf-8") for p in (PROMPTS / "trader/v1").iterdir() if p.suffix != ".md"}
    assert {text for (text,) in traded.execute("SELECT text FROM texts")} == files
    stored = traded.execute("SELECT sum(length(payload)) FROM stages WHERE stage = 'llm_contexts'")[0][0]
    prompts = traded.execute(
        "SELECT sum(length(payload -> '$.prompt')) FROM stages WHERE stage = 'llm_contexts'"
    )[0][0]
    assert stored - prompts < 3 * 6_000
    kinds = [record.kind for record in journal(traded.settings).records()]
    assert (kinds.count("prompt"), kinds.count("inputs")) == (1, 3)


def test_the_journal_has_the_hash_of_each_reply_and_the_cycle_of_its_prior_decision(traded: Traded) -> None:
    opened, refused, kept = [r.body for r in journal(traded.settings).records("decision")]
    for body in (opened, refused, kept):
        assert body["reply_sha256"] == hashlib.sha256(body["reply"]["text"].encode()).hexdigest()
        assert len(body["prompt"]["template_sha256"]) == len(body["prompt"]["schema_sha256"]) == 64
    assert opened["prior_cycle_ms"] is None
    assert refused["prior_cycle_ms"] == kept["prior_cycle_ms"] == traded.times[0]


def test_a_prompt_that_was_changed_is_in_the_journal_again(traded: Traded) -> None:
    from wonttrade_dagster.adapters.evidence import write_inputs
    from wonttrade_dagster.core.codec import decode
    from wonttrade_dagster.core.cycle import STAGE_RECORDS

    store = ledger(traded.settings, journal(traded.settings))
    payload = store.load(traded.times[-1], Stage.LLM_CONTEXTS)
    assert payload is not None
    changed = decode(
        STAGE_RECORDS[Stage.LLM_CONTEXTS], payload.replace(b'"template_sha256":"', b'"template_sha256":"0')
    )
    for _ in range(2):
        write_inputs(journal(traded.settings), traded.times[-1] + 60_000, {}, changed)
    kinds = [record.kind for record in journal(traded.settings).records()]
    assert (kinds.count("prompt"), kinds.count("inputs")) == (2, 5)


@pytest.mark.parametrize("words", [(), ("last", "--all")])
def test_one_cycle_or_all_must_be_asked_for(
    traded: Traded, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["replay", *words, "--config", str(traded.config)]) == 2
    assert "name one CYCLE, or ask for --all" in capsys.readouterr().err
