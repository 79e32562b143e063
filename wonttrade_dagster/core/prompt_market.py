"""The market part of a prompt's facts.

Belongs here: price, indicators and venue rules of a symbol, already in words.
Does not belong here: the account and the prior decision (``core.prompt_account``).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache, partial
from operator import itemgetter
from types import MappingProxyType

from wonttrade_dagster.core.buying_power import allowed_leverage
from wonttrade_dagster.core.invalidation import FUNDING_PERCENT_DECIMALS
from wonttrade_dagster.core.model import (
    FURTHER,
    AssetSpec,
    Columns,
    IndicatorWindow,
    RiskLimits,
    SymbolIndicators,
    SymbolMarket,
)
from wonttrade_dagster.core.precision import MIN_ORDER_VALUE_USD, lot_base, tick_px, wire
from wonttrade_dagster.core.prompt_text import (
    ABSENT,
    PriceFormat,
    Texts,
    decimal_json,
    number,
    percent,
    texts_of,
    usd,
)
from wonttrade_dagster.core.quick_init import quick_init

_HOURS_PER_YEAR = 24 * 365
_PLAIN = ("open", "high", "low", "close", "volume")
_DATA = ("ema_fast", "ema_slow", "macd", "rsi_fast", "rsi_slow", "atr_slow")
_SCORE_DECIMALS = 2
_PERCENT_DECIMALS = 4


class Printed(Mapping[str, str]):
    """Columns of a window as text, each made when a template first asks for it, by name or by role.

    Attributes:
        columns: what may be asked for → column.
    """

    __slots__ = ("_texts", "_values", "_write")
    columns: Mapping[str, str] = MappingProxyType({})

    def __init__(self, values: Columns, write: Callable[[Sequence[float | None], str], str]) -> None:
        """``write``: values and their column → text."""
        self._values, self._write = values, write
        self._texts: dict[str, str] = {}

    @classmethod
    def of(cls, columns: Mapping[str, str]) -> type["Printed"]:
        """Windows of these columns, which a template finds as attributes, too."""
        asked = {key: property(itemgetter(key)) for key in columns}
        return type(
            cls.__name__, (cls,), {"__slots__": (), "__module__": __name__, "columns": columns} | asked
        )

    def __getitem__(self, key: str) -> str:
        """The text; ``KeyError`` for what is not there."""
        text = self._texts.get(key)
        if text is None:
            column = self.columns[key]
            text = self._texts[key] = self._write(self._values[column], column)
        return text

    def __iter__(self) -> Iterator[str]:
        """Whatever may be asked for."""
        return iter(self.columns)

    def __len__(self) -> int:
        """How much that is."""
        return len(self.columns)


@quick_init
@dataclass(frozen=True, slots=True)
class WindowFacts:
    """One window of closed candles.

    Attributes:
        interval: of each bar, e.g. ``5m``.
        bars: how many points the series hold.
        latest: newest value of each column, by role (``ema_fast``) or by name (``ema_20``).
        series: each column, oldest → newest, likewise.
    """

    interval: str
    bars: int
    latest: Mapping[str, str]
    series: Mapping[str, str]


@quick_init
@dataclass(frozen=True, slots=True)
class SymbolFacts:
    """One symbol: prices, positioning of the market, the venue's rules, both windows."""

    symbol: str
    price: str
    mid: str
    mark: str
    oracle: str
    open_interest: str
    open_interest_mean: str
    day_volume: str
    funding_hourly: str
    funding_annual: str
    tick: str
    lot: str
    min_value_usd: str
    max_leverage: int
    leverage: str
    intraday: WindowFacts
    long_term: WindowFacts


def price_format(market: SymbolMarket) -> PriceFormat:
    """The symbol's formats at its reference price; the same object for the same ones."""
    return _format_at(market.reference_px.adjusted(), market.asset.size_decimals)


@lru_cache(maxsize=1024)
def _format_at(magnitude: int, size_decimals: int) -> PriceFormat:
    px = Decimal(1).scaleb(magnitude)
    return PriceFormat.of(tick_px(px, size_decimals), px)


@dataclass(frozen=True, slots=True)
class WindowColumns:
    """The columns of every window: what a template may ask for, and how each is printed.

    Attributes:
        by_key: candles, columns by name, columns by role → column.
        data: columns of the JSON block: those of every prompt, and the further ones that this prompt shows.
    """

    by_key: Mapping[str, str]
    data: tuple[str, ...]
    _stems: Mapping[str, str]

    @classmethod
    def of(cls, names: Mapping[str, str]) -> "WindowColumns":
        """``names``: role → column of the indicators."""
        by_key = {column: column for column in (*_PLAIN, *names.values())} | dict(names)
        data = tuple(names[role] for role in names if role in _DATA or role in FURTHER)
        return cls(by_key, data, {names[role]: _STEMS.get(role, role) for role in names})

    def decimals(self, fmt: PriceFormat, size_decimals: int) -> Mapping[str, int]:
        """Column → decimals."""
        volume = min(size_decimals, 3)
        by_stem = {
            "ema": fmt.average_decimals,
            "macd": fmt.difference_decimals,
            "rsi": _SCORE_DECIMALS,
            "atr": fmt.difference_decimals,
            "volume_mean": volume,
            "volatility": _PERCENT_DECIMALS,
            "roc": _PERCENT_DECIMALS,
            "vwap": fmt.average_decimals,
            "bollinger_width": _PERCENT_DECIMALS,
            "volume_z_score": _SCORE_DECIMALS,
        }
        plain = dict.fromkeys(_PLAIN, fmt.px_decimals) | {"volume": volume}
        return plain | {column: by_stem[stem] for column, stem in self._stems.items()}


_STEMS = {
    "ema_fast": "ema",
    "ema_slow": "ema",
    "macd_signal": "macd",
    "macd_histogram": "macd",
    "rsi_fast": "rsi",
    "rsi_slow": "rsi",
    "atr_fast": "atr",
    "atr_slow": "atr",
}


@quick_init
@dataclass(frozen=True, slots=True, eq=False)
class PrintedWindow:
    """A window as the template sees it, and its newest indicators for the JSON block.

    Attributes:
        facts: for the template.
        data: column → number as JSON, rounded as the prose prints it; null when absent.
    """

    facts: WindowFacts
    data: str


@dataclass(frozen=True, slots=True, eq=False)
class PrintedRules:
    """What the venue and the limits allow a symbol at its price.

    Attributes:
        data: the same as members of the JSON block.
    """

    tick: str
    lot: str
    min_value_usd: str
    max_leverage: int
    data: str

    @classmethod
    def of(cls, asset: AssetSpec, fmt: PriceFormat, limits: RiskLimits) -> "PrintedRules":
        """The rules in force."""
        lot = lot_base(asset.size_decimals)
        max_leverage = allowed_leverage(asset, limits.max_position_usd, limits)
        data = (
            f'"tick":{decimal_json(fmt.tick)},"lot":{decimal_json(lot)},'
            f'"size_decimals":{asset.size_decimals},"min_value_usd":{decimal_json(MIN_ORDER_VALUE_USD)},'
            f'"max_leverage":{max_leverage}'
        )
        return cls(wire(fmt.tick), wire(lot), wire(MIN_ORDER_VALUE_USD), max_leverage, data)


class WindowPrinter:
    """Prints windows and rules. What is the same for hours is printed once."""

    def __init__(self, columns: WindowColumns, limits: RiskLimits) -> None:
        self._columns = columns
        self.rules = lru_cache(maxsize=64)(partial(PrintedRules.of, limits=limits))
        self._type = Printed.of(columns.by_key)
        self._texts = lru_cache(maxsize=64)(self._texts_at)
        self._newest: dict[tuple[str, str], tuple[IndicatorWindow, PriceFormat, PrintedWindow]] = {}

    def printed(
        self, market: SymbolMarket, fmt: PriceFormat, window: IndicatorWindow, interval: str
    ) -> PrintedWindow:
        """A window of a market; of each interval, the newest one is remembered."""
        key = market.symbol, interval
        known = self._newest.get(key)
        if known is None or known[0] is not window or known[1] is not fmt:
            made = self._printed(window, interval, self._texts(fmt, market.asset.size_decimals))
            self._newest[key] = known = window, fmt, made
        return known[2]

    def _texts_at(self, fmt: PriceFormat, size_decimals: int) -> Mapping[str, Texts]:
        decimals = self._columns.decimals(fmt, size_decimals)
        return {column: texts_of(count) for column, count in decimals.items()}

    def _printed(self, window: IndicatorWindow, interval: str, texts: Mapping[str, Texts]) -> PrintedWindow:
        def latest(values: Sequence[float | None], column: str) -> str:
            return texts[column].of(values[-1] if values else None)

        def shown(values: Sequence[float | None], column: str) -> str:
            return texts[column].series(values)

        printed, values = self._type, window.columns
        facts = WindowFacts(interval, window.height, printed(values, latest), printed(values, shown))
        data = [f'"{name}":{texts[name].json(window.newest(name))}' for name in self._columns.data]
        return PrintedWindow(facts, f"{{{','.join(data)}}}")


@quick_init
@dataclass(frozen=True, slots=True, eq=False)
class SymbolWindows:
    """Both windows of a symbol, printed as its price asks for."""

    market: SymbolMarket
    fmt: PriceFormat
    rules: PrintedRules
    intraday: PrintedWindow
    long_term: PrintedWindow

    @classmethod
    def of(
        cls, market: SymbolMarket, indicators: SymbolIndicators, printer: WindowPrinter
    ) -> "SymbolWindows":
        """The windows of a cycle."""
        fmt = price_format(market)
        intraday = printer.printed(market, fmt, indicators.intraday, market.intraday.interval)
        long_term = printer.printed(market, fmt, indicators.long_term, market.long_term.interval)
        return cls(market, fmt, printer.rules(market.asset, fmt), intraday, long_term)


def symbol_facts(windows: SymbolWindows, leverage: int | None) -> SymbolFacts:
    """Everything the prompt says of one symbol."""
    market, fmt, rules = windows.market, windows.fmt, windows.rules
    asset, funding = market.asset, market.funding_rate_hourly
    return SymbolFacts(
        symbol=market.symbol,
        price=fmt.px(market.reference_px),
        mid=fmt.px(market.mid_px),
        mark=fmt.px(market.mark_px),
        oracle=fmt.px(market.oracle_px),
        open_interest=number(market.open_interest_base, min(asset.size_decimals, 3)),
        open_interest_mean=number(market.open_interest_mean_base, min(asset.size_decimals, 3)),
        day_volume=ABSENT if market.day_volume_usd is None else usd(market.day_volume_usd),
        funding_hourly=ABSENT if funding is None else percent(funding, FUNDING_PERCENT_DECIMALS),
        funding_annual=ABSENT if funding is None else percent(funding * _HOURS_PER_YEAR),
        tick=rules.tick,
        lot=rules.lot,
        min_value_usd=rules.min_value_usd,
        max_leverage=rules.max_leverage,
        leverage=ABSENT if leverage is None else f"{leverage}x",
        intraday=windows.intraday.facts,
        long_term=windows.long_term.facts,
    )
