"""The world around the trading process: prices, faults, a person's hands, a disk, another session.

Belongs here: doing to the loopback servers and to the data directory what ``draws`` says.
Does not belong here: looking at what came of it (``books``, ``audit``).
"""

import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import requests
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info

from bench.campaign.draws import CyclePlan, Hand, Pace
from bench.candles import FIRST_PX
from bench.ground import Control, served_by, write_settings
from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.core.precision import PriceRounding, floor_size, round_price
from wonttrade_dagster.defs import compose
from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS
from wonttrade_dagster.settings import Settings, load_settings

HAND_KEY = "0x" + "5a" * 32
"""A person's own agent, with its own line of nonces. Public, and known to the loopback venue only."""
HOLD_MS = 6 * 3_600_000
FURTHEST = 1.8
"""Prices stay within this factor of where they began."""
POOR_USD = 6_000
DECIMALS: Mapping[str, int] = {"BTC": 5, "ETH": 4}
MOST_LIMITS = 3

_PACES: Mapping[Pace, Mapping[str, float]] = {
    Pace.CALM: {"timeout": 10, "deadline": 12, "age": 30, "market_age": 20},
    Pace.ROUGH: {"timeout": 0.6, "deadline": 1.0, "age": 12, "market_age": 10},
    Pace.HASTY: {"timeout": 0.4, "deadline": 0.7, "age": 0.9, "market_age": 0.8},
    Pace.LATE: {"timeout": 10, "deadline": 0.7, "age": 0.9, "market_age": 0.8},
}


@contextmanager
def servers(seed: int) -> Iterator[Mapping[str, str]]:
    """Venue and model in a process of their own; their URLs."""
    with served_by("bench.campaign.servers", "--seed", str(seed)) as urls:
        yield urls


def settings_of(folder: Path, urls: Mapping[str, str]) -> dict[Pace, Settings]:
    """One set of settings a pace; all of them share journal, ledger and lease."""
    base = write_settings(folder, urls)
    text = (folder / "wonttrade.toml").read_text(encoding="utf-8")
    found = {}
    for pace, times in _PACES.items():
        path = folder / f"{pace.value}.toml"
        path.write_text(_paced(text, times), encoding="utf-8")
        found[pace] = load_settings(path)
    if {s.data_dir for s in found.values()} != {base.data_dir}:
        raise UsageError("the paces of a campaign must share one data directory")
    return found


def _paced(text: str, times: Mapping[str, float]) -> str:
    # Cycles follow each other within a second: a pause of the breaker would be the rest of the campaign,
    # and prices go in minutes where a real market needs months.
    limits = {
        "max_market_age_seconds": times["market_age"],
        "ledger_lock_seconds": 0.3,
        "breaker_failures": 1000,
        "max_price_jump_fraction": 10,
    }
    resilience = "\n".join(f"{key} = {value}" for key, value in limits.items())
    for old, new in (
        ("max_position_usd = 3000", "max_position_usd = 40000"),
        ("max_gross_exposure_usd = 6000", "max_gross_exposure_usd = 75000"),
        ("max_leverage = 3", "max_leverage = 10"),
        ("deadline_seconds = 20", f"deadline_seconds = {times['deadline']}"),
        ("max_decision_age_seconds = 60", f"max_decision_age_seconds = {times['age']}"),
        ("max_market_age_seconds = 55", resilience),
        ('network = "local"', f'network = "local"\ntimeout_seconds = {times["timeout"]}\nread_attempts = 2'),
        (
            'tracked = ["BTC", "ETH"]',
            'tracked = ["BTC", "ETH"]\nintraday_interval = "1m"\nlong_interval = "5m"\nhistory_bars = 60',
        ),
    ):
        if old not in text:
            raise UsageError(f"the settings of a campaign are made from a text that has no {old!r}")
        text = text.replace(old, new)
    return text


@dataclass(slots=True)
class World:
    """What is not the trader.

    Attributes:
        urls: of venue and model.
        settings: any pace's: paths are the same.
        mids: the scripted price of each symbol.
        limits: order ids of a person's resting limit orders, oldest first.
        taken_back: order ids that the person cancelled.
    """

    urls: Mapping[str, str]
    settings: Settings
    mids: dict[str, float] = field(default_factory=lambda: dict(FIRST_PX))
    limits: list[int] = field(default_factory=list)
    triggers: list[int] = field(default_factory=list)
    taken_back: set[int] = field(default_factory=set)
    venue: Control = field(init=False)
    info: Info = field(init=False)
    _session: requests.Session = field(init=False)
    _hand: Exchange = field(init=False)

    def __post_init__(self) -> None:
        self.venue = Control(self.urls["venue"])
        self.info = info_of(self.urls["venue"])
        self._session = requests.Session()
        self._session.trust_env = False
        hand = Account.from_key(HAND_KEY)
        self.venue.post("agent", {"user": SANDBOX_ACCOUNT_ADDRESS, "agent": hand.address, "name": "hand"})
        self._hand = Exchange(
            hand,
            self.urls["venue"],
            meta=self.info.meta(),
            spot_meta={"universe": [], "tokens": []},
            account_address=SANDBOX_ACCOUNT_ADDRESS,
            timeout=30,
        )
        for symbol in self.mids:
            self._set_price(symbol)

    # --- before and after a cycle ------------------------------------------------------------------

    def prepare(self, plan: CyclePlan, seed: int) -> None:
        """Prices, hands, the model's script and the faults of a cycle."""
        for symbol, jump in plan.jumps.items():
            self.jump(symbol, jump)
        for hand in plan.hands:
            self._use(hand)
        self._pay_in()
        self._post(self._model_url, "script", {"style": plan.style, "seed": f"{seed}:{plan.number}"})
        if plan.faults:
            self._post(self.urls["venue"], "faults", list(plan.faults))
        if plan.model_faults:
            self._post(self._model_url, "faults", list(plan.model_faults))
        if plan.deletes_data:
            shutil.rmtree(self.settings.data_dir, ignore_errors=True)

    def clear_faults(self) -> None:
        """Nothing goes wrong from here on."""
        self._post(self.urls["venue"], "faults", [])
        self._post(self._model_url, "faults", [])

    def jump(self, symbol: str, fraction: float) -> None:
        """Move a price."""
        first = FIRST_PX[symbol]
        moved = self.mids[symbol] * max(0.5, 1 + fraction)
        self.mids[symbol] = min(max(moved, first / FURTHEST), first * FURTHEST)
        self._set_price(symbol)

    def jump_from_elsewhere(self, symbol: str, fraction: float) -> None:
        """Move a price from a forked process, which must not share a connection with its parent."""
        self.venue = Control(self.urls["venue"])
        self.jump(symbol, fraction)

    def read_mids(self) -> None:
        """Take over prices that a trading process has moved."""
        mids = self.info.all_mids()
        self.mids = {symbol: float(mids[symbol]) for symbol in self.mids}

    def _set_price(self, symbol: str) -> None:
        body = {"coin": symbol, "mid": f"{self.mids[symbol]:.5g}", "hold_ms": HOLD_MS}
        self.venue.post("price", body)

    @property
    def _model_url(self) -> str:
        return self.urls["model"].removesuffix("/v1")

    def _post(self, url: str, name: str, body: object) -> None:
        self._session.post(f"{url}/sandbox/{name}", json=body, timeout=30).raise_for_status()

    def _pay_in(self) -> None:
        state = self.info.user_state(SANDBOX_ACCOUNT_ADDRESS)
        missing = POOR_USD - float(state["marginSummary"]["accountValue"])
        if missing > 0:
            self.venue.post("fund", {"user": SANDBOX_ACCOUNT_ADDRESS, "usdc": f"{missing + 4_000:.2f}"})

    def compact(self) -> None:
        """Keep only the last scripted move of each price: the tape walks through all of them."""
        saved = self.venue.post("save", {})
        saved["moves"] = {coin: rows[-1:] for coin, rows in saved["moves"].items()}
        self.venue.post("restore", saved)

    # --- a person ----------------------------------------------------------------------------------

    def _use(self, hand: Hand) -> None:
        held = self._held(hand.symbol)
        match hand.what:
            case "trade":
                self._trade(hand.symbol, hand.amount * 3_000)
            case "flatten" if held:
                self._hand.market_close(hand.symbol)
            case "limit":
                self._rest(hand)
            case "trigger" if held:
                self._stop(hand, held)

    def _held(self, symbol: str) -> float:
        rows = self.info.user_state(SANDBOX_ACCOUNT_ADDRESS)["assetPositions"]
        return sum(float(row["position"]["szi"]) for row in rows if row["position"]["coin"] == symbol)

    def _size(self, symbol: str, usd: float) -> float:
        return float(floor_size(Decimal(abs(usd) / self.mids[symbol]), DECIMALS[symbol]))

    def _trade(self, symbol: str, usd: float) -> None:
        self._hand.market_open(symbol, usd > 0, self._size(symbol, usd))

    def _rest(self, hand: Hand) -> None:
        """A limit order far away, without any id of ours."""
        if len(self.limits) >= MOST_LIMITS:
            oldest = self.limits.pop(0)
            self.taken_back.add(oldest)
            self._hand.cancel(hand.symbol, oldest)
        px = self._px(hand.symbol, 0.6 if hand.amount > 0 else 1.5)
        size = self._size(hand.symbol, 60)
        answer = self._hand.order(hand.symbol, hand.amount > 0, size, px, {"limit": {"tif": "Gtc"}})
        self.limits += _resting(answer)

    def _stop(self, hand: Hand, held: float) -> None:
        px = self._px(hand.symbol, 0.9 if held > 0 else 1.1)
        kind = {"trigger": {"triggerPx": px, "isMarket": True, "tpsl": "sl"}}
        size = max(self._size(hand.symbol, 12), abs(held) / 2)
        size = float(floor_size(Decimal(size), DECIMALS[hand.symbol]))
        answer = self._hand.order(hand.symbol, held < 0, size, px, kind, reduce_only=True)
        self.triggers += _resting(answer)

    def _px(self, symbol: str, factor: float) -> float:
        px = Decimal(self.mids[symbol] * factor)
        return float(round_price(px, DECIMALS[symbol], PriceRounding.NEAREST))

    # --- another session ---------------------------------------------------------------------------

    @contextmanager
    def held_ledger(self) -> Iterator[None]:
        """The ledger's DuckDB file is open in another process for the length of the block."""
        path = compose.ledger(self.settings, compose.journal(self.settings)).path
        if not path.exists():
            yield
            return
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            _hold(path, writing)
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def info_of(url: str) -> Info:
    """The official SDK's reading half."""
    info = Info(url, skip_ws=True, spot_meta={"universe": [], "tokens": []}, timeout=30)
    info.session.trust_env = False
    return info


def _hold(path: Path, writing: int) -> None:
    try:
        with duckdb.connect(str(path), read_only=True):
            os.write(writing, b"1")
            signal.pause()
    finally:
        os._exit(0)


def _resting(answer: Mapping[str, Any]) -> list[int]:
    if answer["status"] != "ok":
        return []
    statuses = answer["response"]["data"]["statuses"]
    return [row["resting"]["oid"] for row in statuses if "resting" in row]
