"""One cycle as a story: real cycles on the loopback venue, told from their records."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback, set_back, trade_replies

from wonttrade_dagster.adapters.archive import cycle_ms_of, cycle_text
from wonttrade_dagster.cli.app import run
from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.defs.partitions import cycle_key

HOSTILE = '<script>alert("1")</script> [bold]not markup[/bold] \x1b[31mred'
MINUTE_MS = 60_000


def flat(symbol: str, rationale: str) -> dict[str, Any]:
    empty = {"stop_loss": None, "take_profit": None, "margin": None}
    return {"symbol": symbol, "target_size": 0, "confidence": 0.5, "rationale": rationale} | empty


def hostile_reply() -> str:
    body = {"explanation": HOSTILE, "invalidation_condition": HOSTILE, "prior_plan": "replaced"}
    body |= {"replaced_because": HOSTILE, "targets": [flat("BTC", HOSTILE), flat("ETH", HOSTILE)]}
    return json.dumps(body)


@dataclass
class Desk:
    """Three cycles of one account: opened, refused, closed by a reply full of markup."""

    config: Path
    opened_ms: int
    refused_ms: int
    closed_ms: int


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with set_back() as clock, Loopback.serving(clock) as loopback:
        config = loopback.config(tmp_path_factory.mktemp("explain"))
        times = trade_replies(loopback, clock, config, (None, "no JSON at all", hostile_reply()))
        yield Desk(config, *times)


def story(desk: Desk, cycle: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert run(["explain", cycle, "--json", "--config", str(desk.config)]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def chapter(told: dict[str, Any], title: str) -> dict[str, Any]:
    (found,) = [chapter for chapter in told["chapters"] if chapter["title"] == title]
    return found | {"facts": dict(found["facts"])}


def table(told: dict[str, Any], of: str, title: str) -> list[dict[str, str]]:
    (found,) = [t for t in chapter(told, of)["tables"] if t["title"] == title]
    return [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]


def test_an_opening_is_told_from_what_was_seen_to_what_it_was_worth(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    told = story(desk, cycle_text(desk.opened_ms), capsys)
    assert [c["title"] for c in told["chapters"]] == [
        "Seen", "Asked", "Answered", "Judged", "Planned", "Sent", "Filled", "Confirmed", "Worth",
    ]  # fmt: skip
    assert {row["symbol"] for row in table(told, "Seen", "Market")} == {"BTC", "ETH"}
    assert len(table(told, "Seen", "Indicators, newest closed candle")) == 4
    assert len(chapter(told, "Asked")["facts"]["prompt SHA-256"]) == 64
    answered = chapter(told, "Answered")
    assert answered["facts"]["model"] == "loopback-rule"
    assert json.loads(answered["passages"][0]["text"])["targets"]
    assert {row["action"] for row in table(told, "Planned", "Actions")} == {
        "open", "stop loss", "take profit",
    }  # fmt: skip
    assert "filled" in {row["status"] for row in table(told, "Sent", "Results")}
    assert {row["symbol"] for row in table(told, "Filled", "Fills")} == {"BTC", "ETH"}
    assert "BTC unprotected" in chapter(told, "Confirmed")["facts"]


def test_the_worth_ends_at_the_next_applied_decision_and_holds_its_fees_alone(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    told = story(desk, cycle_text(desk.opened_ms), capsys)
    worth = chapter(told, "Worth")["facts"]
    fees = sum(Decimal(row["fee"].lstrip("$")) for row in table(told, "Filled", "Fills"))
    assert worth["refused cycles in between"] == "1"
    assert worth["until"].endswith(f"{cycle_text(desk.closed_ms).replace('T', ' ')}:00")
    assert abs(Decimal(worth["fees"].lstrip("$")) - fees) < Decimal("0.001")
    assert fees > 0


def test_a_refusal_names_its_violations_and_the_decision_before_it(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    told = story(desk, cycle_text(desk.refused_ms), capsys)
    judged = chapter(told, "Judged")
    assert (judged["facts"]["verdict"], judged["facts"]["reason"]) == ("refused", "invalid_json")
    assert judged["facts"]["prior decision"].startswith("cycle ")
    (violations,) = [t for t in judged["tables"] if t["title"] == "Violations"]
    assert violations["rows"][0][0] == "prose_around_json"
    assert table(told, "Judged", "Violations of the first reply")[0]["rule"] == "prose_around_json"
    titles = [passage["title"] for passage in chapter(told, "Answered")["passages"]]
    assert titles == ["Raw reply", "First reply, refused"]


def test_the_terminal_shows_markup_as_text_and_hides_the_prompt_until_it_is_asked_for(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run(["explain", "last", "--config", str(desk.config)]) == 0
    said = capsys.readouterr().out
    assert "[bold]not markup[/bold]" in said
    assert "\x1b" not in said
    assert "User message" not in said
    assert run(["explain", "last", "--prompt", "--config", str(desk.config)]) == 0
    assert "User message" in capsys.readouterr().out


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [
            value or "" for name, value in attrs if name in {"src", "href"} or name.startswith("on")
        ]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_holds_the_models_words_as_text_and_loads_nothing(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "pages" / "cycle.html"
    assert run(["explain", "last", "--html", str(page), "--config", str(desk.config)]) == 0
    assert str(page) in capsys.readouterr().out
    html = page.read_text(encoding="utf-8")
    elements = Elements()
    elements.feed(html)
    assert "script" not in elements.tags
    assert "<script" not in html.lower()
    assert elements.links == []
    assert (
        elements.text.count('<script>alert("1")</script>') >= 4
    )  # explanation, condition, reason, rationale
    assert "default-src 'none'" in html
    assert "User message" in elements.text


def test_the_graphs_name_of_a_cycle_is_as_good(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    by_key = story(desk, cycle_key(desk.closed_ms), capsys)
    assert by_key == story(desk, "last", capsys)
    assert by_key["cycle"] == cycle_text(desk.closed_ms)


def test_a_cycle_that_is_not_there_is_answered_by_its_neighbours(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = cycle_text(desk.refused_ms - 7 * 1440 * MINUTE_MS)
    assert run(["explain", gone, "--config", str(desk.config)]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert f"holds no cycle {gone}" in said
    assert cycle_text(desk.opened_ms) in said
    assert cycle_text(desk.closed_ms) not in said, "only the nearest ones"


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01T00:00", "", "12:03", "2026-11-23"])
def test_what_names_no_minute_is_wrong_usage(
    desk: Desk, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["explain", text, "--config", str(desk.config)]) == 2
    assert "names no cycle" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["2026-11-23T12:03", "2026-11-23-12:03", "2026-11-23 12:03", "2026-11-23T12:03:00Z"]
)
def test_every_spelling_of_a_minute_is_the_same_cycle(text: str) -> None:
    assert cycle_ms_of(text) == 1_795_435_380_000
    assert cycle_text(cycle_ms_of(text)) == "2026-11-23T12:03"


def test_half_a_minute_is_no_other_cycle() -> None:
    assert cycle_ms_of("2026-11-23T12:03:30") != cycle_ms_of("2026-11-23T12:03")
    with pytest.raises(UsageError):
        cycle_ms_of("2026-11-23T12:03+02:00")


def test_an_account_that_never_traded_has_no_cycle_and_gets_no_folder(
    tmp_path: Path, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "wonttrade.toml"
    config.write_text(desk.config.read_text(encoding="utf-8"), encoding="utf-8")
    assert run(["explain", "last", "--config", str(config)]) == 1
    assert "holds no cycle yet" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["wonttrade.toml"]


def test_a_backtest_that_is_not_there_is_told_by_name(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "last", "--backtest", "nope", "--config", str(desk.config)]) == 2
    assert "no backtest nope" in " ".join(capsys.readouterr().err.split())
