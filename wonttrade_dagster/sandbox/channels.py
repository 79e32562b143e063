"""The channels of the stream: what each one shows on subscription and pushes afterwards (protocol §7.2).

Belongs here: frames and the position in a log. Does not belong here: sockets (``stream``).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from wonttrade_dagster.sandbox import info_user, intervals, rows, spot
from wonttrade_dagster.sandbox.account_log import Account
from wonttrade_dagster.sandbox.envelopes import SchemaError, read_address
from wonttrade_dagster.sandbox.info_market import asset_context, book_json, level_json, mids
from wonttrade_dagster.sandbox.venue import LoopbackVenue

BY_THE_VENUE = ("Canceled", "scheduledCancel")
"""Ends of the words for cancels that the user did not ask for; a plain ``canceled`` is theirs."""
WEB_DATA_MS = 1_000
MARKET_PUSH_MS = 500
"""The venue pushes a book at most twice a second."""
QUIET_PUSH_MS = 5_000
"""A market channel repeats itself after this, so that silence means a dead connection."""

Frame = Mapping[str, Any]
Kind = Literal["snapshot", "news"]
Subscription = Mapping[str, Any]


_ECHOED: Mapping[str, Mapping[str, Any]] = {
    "l2Book": {"nSigFigs": None, "mantissa": None},
    "userFills": {"aggregateByTime": False},
}
"""Fields that the venue adds to a subscription when it confirms it."""


class UnknownCoinError(ValueError):
    """The venue closes the socket without a frame."""


class Channel(ABC):
    """One subscription of one connection."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.key = repr(sorted((name, str(value)) for name, value in subscription.items()))

    def has_coin(self, coin: str) -> bool:
        """Whether the subscription is about ``coin``: what a fault is limited by."""
        return self.subscription.get("coin") == coin

    def has_user(self, address: str) -> bool:
        """Whether the subscription is about the account ``address``."""
        return self.subscription.get("user") == address.lower()

    @abstractmethod
    def snapshot(self) -> list[Frame]:
        """What the subscriber sees first."""

    @abstractmethod
    def due(self) -> list[Frame]:
        """What has happened since the last call."""


class MarketChannel(Channel):
    """Pushes a picture of the market when it has changed."""

    def __init__(
        self, venue: LoopbackVenue, subscription: Subscription, picture: Callable[[], Frame]
    ) -> None:
        super().__init__(subscription)
        self._venue = venue
        self._picture = picture
        self._shown: Frame | None = None
        self._looked_ms = 0
        self._sent_ms = 0

    def snapshot(self) -> list[Frame]:
        """The picture now."""
        return self._show(self._picture())

    def due(self) -> list[Frame]:
        """The picture when it changed, and now and then when it did not."""
        now_ms = self._venue.clock.host_ms()
        if now_ms - self._looked_ms < MARKET_PUSH_MS:
            return []
        self._looked_ms = now_ms
        picture = self._picture()
        if _timeless(picture) == _timeless(self._shown) and now_ms - self._sent_ms < QUIET_PUSH_MS:
            return []
        return self._show(picture)

    def _show(self, picture: Frame) -> list[Frame]:
        self._shown, self._sent_ms = picture, self._venue.clock.host_ms()
        return [{"channel": _channel_name(self.subscription), "data": picture}]


class TradesChannel(Channel):
    """Public trades, drawn from the seed; a subscriber first sees the last thirty."""

    def __init__(self, venue: LoopbackVenue, subscription: Subscription) -> None:
        super().__init__(subscription)
        self._venue = venue
        self._coin = str(subscription["coin"])
        self._until_ms = 0

    def snapshot(self) -> list[Frame]:
        """The last thirty trades."""
        self._until_ms = self._venue.market.now_ms()
        trades = self._venue.market.trades(self._coin, self._until_ms - 300_000, self._until_ms)
        return self._frames(trades[-30:])

    def due(self) -> list[Frame]:
        """The trades since the last frame."""
        after_ms, self._until_ms = self._until_ms, self._venue.market.now_ms()
        return self._frames(self._venue.market.trades(self._coin, after_ms, self._until_ms))

    def _frames(self, trades: Sequence[Frame]) -> list[Frame]:
        return [{"channel": "trades", "data": list(trades)}] if trades else []


class LogChannel(Channel):
    """Pushes what is appended to one list of an account."""

    def __init__(
        self,
        venue: LoopbackVenue,
        subscription: Subscription,
        log: Callable[[Account], Sequence[Any]],
        frames: Callable[[str, list[Any], Kind], list[Frame]],
    ) -> None:
        super().__init__(subscription)
        self._venue = venue
        self._user = str(subscription["user"])
        self._log = log
        self._frames = frames
        self._seen = 0

    def snapshot(self) -> list[Frame]:
        """The list as it stands, where the channel has a snapshot at all."""
        found = self._log(self._venue.account(self._user))
        self._seen = len(found)
        return self._frames(self._user, list(found), "snapshot")

    def due(self) -> list[Frame]:
        """What was appended since the last frame."""
        account = self._venue.accounts.get(self._user)
        fresh = list(self._log(account)[self._seen :]) if account is not None else []
        self._seen += len(fresh)
        return self._frames(self._user, fresh, "news") if fresh else []


def open_channel(venue: LoopbackVenue, wanted: Mapping[str, Any]) -> Channel | None:
    """The channel for a subscription, None when there is no such type or it lacks a field.

    Raises:
        UnknownCoinError: the coin is not listed.
    """
    make = _CHANNELS.get(str(wanted.get("type")))
    try:
        subscription = _normalised(venue, wanted)
        return None if make is None else make(venue, subscription)
    except (KeyError, SchemaError):
        return None


def _normalised(venue: LoopbackVenue, wanted: Mapping[str, Any]) -> Subscription:
    subscription = dict(wanted)
    if "user" in subscription:
        subscription["user"] = read_address(subscription["user"])
    coin = subscription.get("coin")
    if coin is not None and coin not in venue.market.books():
        raise UnknownCoinError(f"there is no coin {coin!r}")
    return {**_ECHOED.get(str(wanted.get("type")), {}), **subscription}


def _channel_name(subscription: Subscription) -> str:
    return str(subscription["type"])


def _timeless(picture: Frame | None) -> Frame | None:
    return None if picture is None else {key: value for key, value in picture.items() if key != "time"}


def _candle(venue: LoopbackVenue, subscription: Subscription) -> Channel:
    coin, interval = str(subscription["coin"]), str(subscription["interval"])
    if interval not in intervals.INTERVAL_MS:
        raise SchemaError(f"no interval {interval!r}")

    def picture() -> Frame:
        now_ms = venue.market.now_ms()
        return venue.market.candles(coin, interval, now_ms, now_ms)[-1]

    return MarketChannel(venue, subscription, picture)


def _book(venue: LoopbackVenue, subscription: Subscription) -> Channel:
    coin = str(subscription["coin"])
    return MarketChannel(venue, subscription, lambda: book_json(venue.market.book(coin)))


def _bbo(venue: LoopbackVenue, subscription: Subscription) -> Channel:
    coin = str(subscription["coin"])

    def picture() -> Frame:
        book = venue.market.book(coin)
        best = [level_json(book.bids[0]), level_json(book.asks[0])]
        return {"coin": coin, "time": book.time_ms, "bbo": best}

    return MarketChannel(venue, subscription, picture)


def _context(venue: LoopbackVenue, subscription: Subscription) -> Channel:
    coin = str(subscription["coin"])
    context = spot.context if spot.is_spot(coin) else asset_context
    return MarketChannel(venue, subscription, lambda: {"coin": coin, "ctx": context(venue.market, coin)})


def _all_mids(venue: LoopbackVenue, subscription: Subscription) -> Channel:
    return MarketChannel(venue, subscription, lambda: {"mids": mids(venue.market)})


def _active_asset(venue: LoopbackVenue, subscription: Subscription) -> Channel:
    coin, user = str(subscription["coin"]), str(subscription["user"])
    if spot.is_spot(coin):
        raise SchemaError(f"{coin} is not a perpetual")

    def picture() -> Frame:
        return rows.active_asset(venue.rules, venue.market.mark_px(coin), venue.account(user), coin)

    return MarketChannel(venue, subscription, picture)


def _user_fills(user: str, found: list[Any], kind: Kind) -> list[Frame]:
    fills = [rows.fill(execution, user) for execution in (found[::-1] if kind == "snapshot" else found)]
    return [
        {"channel": "userFills", "data": {"isSnapshot": kind == "snapshot", "user": user, "fills": fills}}
    ]


def _user_fundings(user: str, found: list[Any], kind: Kind) -> list[Frame]:
    paid = [{"time": payment.time_ms, **rows.funding_delta(payment)} for payment in found]
    return [
        {
            "channel": "userFundings",
            "data": {"isSnapshot": kind == "snapshot", "user": user, "fundings": paid},
        }
    ]


def _user_ledger(user: str, found: list[Any], kind: Kind) -> list[Frame]:
    paid = [rows.ledger(row) for row in found]
    data = {"isSnapshot": kind == "snapshot", "user": user, "nonFundingLedgerUpdates": paid}
    return [{"channel": "userNonFundingLedgerUpdates", "data": data}]


def _order_updates(_user: str, found: list[Any], kind: Kind) -> list[Frame]:
    return (
        []
        if kind == "snapshot"
        else [{"channel": "orderUpdates", "data": [rows.update(row) for row in found]}]
    )


def _user_events(user: str, found: list[Any], kind: Kind) -> list[Frame]:
    if kind == "snapshot":
        return []
    return [{"channel": "user", "data": {"fills": [rows.fill(execution, user) for execution in found]}}]


class _UserEvents(Channel):
    """What befalls one user, in one channel and without a snapshot."""

    def __init__(self, venue: LoopbackVenue, subscription: Subscription) -> None:
        super().__init__(subscription)
        self._fills = LogChannel(venue, subscription, lambda a: a.executions, _user_events)
        self._logs = (
            self._fills,
            LogChannel(venue, subscription, lambda a: a.fundings, _funding_events),
            LogChannel(venue, subscription, lambda a: a.liquidations, _liquidation_events),
            LogChannel(venue, subscription, lambda a: a.statuses, _foreign_cancels),
        )

    def snapshot(self) -> list[Frame]:
        """Nothing, but remembers where the logs stand."""
        return [frame for log in self._logs for frame in log.snapshot()]

    def due(self) -> list[Frame]:
        """Fills, then funding, liquidations, and orders that the venue cancelled."""
        return [frame for log in self._logs for frame in log.due()]


def _liquidation_events(user: str, found: list[Any], kind: Kind) -> list[Frame]:
    if kind == "snapshot":
        return []
    told = [rows.liquidation_event(row, user) for row in found]
    return [{"channel": "user", "data": {"liquidation": row}} for row in told]


def _foreign_cancels(_user: str, found: list[Any], kind: Kind) -> list[Frame]:
    """Orders that somebody else than the user cancelled: the venue, for a reason with a word of its own."""
    told = [
        {"coin": row.order.symbol, "oid": row.order.oid} for row in found if row.status.endswith(BY_THE_VENUE)
    ]
    return [{"channel": "user", "data": {"nonUserCancel": told}}] if told and kind == "news" else []


class _WebData(Channel):
    """What the venue's own front end shows, every second while it changes."""

    def __init__(self, venue: LoopbackVenue, subscription: Subscription) -> None:
        super().__init__(subscription)
        self._venue = venue
        self._user = str(subscription["user"])
        self._sent_ms = 0

    def snapshot(self) -> list[Frame]:
        """The whole page."""
        self._sent_ms = self._venue.clock.host_ms()
        page = info_user.web_data(self._venue, self._venue.account(self._user))
        return [{"channel": "webData2", "data": page}]

    def due(self) -> list[Frame]:
        """The whole page again, once a second."""
        is_due = self._venue.clock.host_ms() - self._sent_ms >= WEB_DATA_MS
        return self.snapshot() if is_due else []


class _Quiet(Channel):
    """A subscription that the venue takes and on which nothing ever happens here."""

    def snapshot(self) -> list[Frame]:
        """Nothing."""
        return []

    def due(self) -> list[Frame]:
        """Nothing."""
        return []


def _funding_events(_user: str, found: list[Any], kind: Kind) -> list[Frame]:
    if kind == "snapshot":
        return []
    paid = [{"time": payment.time_ms, **rows.funding_delta(payment)} for payment in found]
    return [{"channel": "user", "data": {"funding": row}} for row in paid]


_CHANNELS: Mapping[str, Callable[[LoopbackVenue, Subscription], Channel]] = {
    "allMids": _all_mids,
    "candle": _candle,
    "l2Book": _book,
    "bbo": _bbo,
    "trades": TradesChannel,
    "activeAssetCtx": _context,
    "activeAssetData": _active_asset,
    "userFills": lambda v, s: LogChannel(v, s, lambda a: a.executions, _user_fills),
    "userFundings": lambda v, s: LogChannel(v, s, lambda a: a.fundings, _user_fundings),
    "userNonFundingLedgerUpdates": lambda v, s: LogChannel(v, s, lambda a: a.ledger, _user_ledger),
    "orderUpdates": lambda v, s: LogChannel(v, s, lambda a: a.statuses, _order_updates),
    "userEvents": _UserEvents,
    "webData2": _WebData,
    "notification": lambda _venue, subscription: _Quiet(subscription),
}
