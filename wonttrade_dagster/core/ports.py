"""The ports: what the core needs of the outside world, as ABCs of a few methods.

Belongs here: method signatures, what they promise, which errors they raise.
Does not belong here: any implementation. (ABCs and not Protocols: a missing method must fail at
construction, Dagster does not check resource types.)
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from wonttrade_dagster.core.codec import jsonable
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    ActionResult,
    AssetSpec,
    CancelOrder,
    CycleReport,
    Decision,
    EquityPoint,
    ExecutionPlan,
    ExecutionReport,
    Fill,
    MarketSnapshot,
    ModelReply,
    OpenOrder,
    PlaceOrder,
    PriorDecision,
    Prompt,
    SetLeverage,
    Stage,
    Transfer,
)


class Clock(ABC):
    """Time as an argument, so that a backtest and a test own it."""

    @abstractmethod
    def now_ms(self) -> int:
        """Milliseconds of UTC epoch."""

    @abstractmethod
    def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass."""


class MarketData(ABC):
    """The market as of a cycle: the live feed, or its replay in a backtest."""

    @abstractmethod
    def assets(self) -> Mapping[str, AssetSpec]:
        """Every perpetual of the venue by symbol. Raises ``VenueError``."""

    @abstractmethod
    def snapshot(self, cycle_ms: int) -> MarketSnapshot:
        """What was known at ``cycle_ms`` of every tracked symbol. Raises ``VenueError``, ``HistoryError``."""


class Venue(ABC):
    """One account on one exchange: the truth about it, and the writes that change it.

    Reads may be retried inside; writes never are. A write whose answer was lost is looked up by client
    order id before it is reported ``unknown``. No method raises for a business error: it is a result.
    """

    @abstractmethod
    def account(self) -> AccountSnapshot:
        """Positions, open orders, account value and marks, read now. Raises ``VenueError``."""

    @abstractmethod
    def place(self, order: PlaceOrder) -> ActionResult:
        """Send one order. Never raises for what the venue answered."""

    @abstractmethod
    def cancel(self, cancel: CancelOrder) -> ActionResult:
        """Cancel one order; "already gone" counts as done."""

    @abstractmethod
    def set_leverage(self, change: SetLeverage) -> ActionResult:
        """Set leverage and margin mode of one symbol."""

    @abstractmethod
    def fills(self, since_ms: int) -> tuple[Fill, ...]:
        """The account's fills since ``since_ms``, oldest first. Raises ``VenueError``."""

    @abstractmethod
    def find(self, cloid: str) -> ActionResult | None:
        """What the venue knows of a client order id; None when it has never heard of it.

        The result's ``action`` is not meaningful to the caller. Raises ``VenueError`` when the question
        could not be asked: that is never proof of absence.
        """

    @abstractmethod
    def leverages(self, symbols: Sequence[str]) -> Mapping[str, int]:
        """The leverage that an order in each of these symbols would get, where the venue tells it.

        For symbols without a position, whose leverage no account answer shows. Never raises ``VenueError``:
        a symbol that could not be asked about is left out.
        """

    @abstractmethod
    def funding_paid_usd(self, since_ms: int, until_ms: int) -> Decimal:
        """Funding paid (+) or received (−) in ``[since_ms, until_ms)``. Raises ``VenueError``."""

    @abstractmethod
    def transfers(self, since_ms: int, until_ms: int) -> tuple[Transfer, ...]:
        """Deposits, withdrawals and the like in ``[since_ms, until_ms)``, oldest first.

        What does not touch the value of the perpetuals' account is left out; what nobody knows the effect
        of has none told. Raises ``VenueError``.
        """


class LanguageModel(ABC):
    """A chat model behind a deadline."""

    @abstractmethod
    def complete(self, prompt: Prompt, schema: Mapping[str, Any], deadline_ms: int) -> ModelReply:
        """One completion under a strict JSON schema.

        ``deadline_ms`` is how long it may take, retries included. Raises ``ModelError``.
        """


class Executor(ABC):
    """Carries out a plan: ``ExecutionService`` on a venue, ``SimulatedExecutor`` in a backtest."""

    @abstractmethod
    def account(self) -> AccountSnapshot:
        """The account now. Raises ``VenueError``."""

    @abstractmethod
    def execute(self, plan: ExecutionPlan) -> ExecutionReport:
        """Do what the plan says, risk-reducing actions first, and read back. Never raises ``VenueError``."""


class Ledger(ABC):
    """The queryable history. It may lag behind the journal; it never disagrees with it."""

    @abstractmethod
    def record(self, cycle_ms: int, stage: Stage, payload: bytes) -> None:
        """Keep the JSON of one stage. A second call for the same cycle and stage raises ``StorageError``."""

    @abstractmethod
    def load(self, cycle_ms: int, stage: Stage) -> bytes | None:
        """The JSON kept for a stage, or None."""

    @abstractmethod
    def last_report(self, before_ms: int) -> CycleReport | None:
        """The newest report of a cycle before ``before_ms``, with the running totals that are known by then.

        One that is no memory is told by ``core.report.recalling``. Raises ``StorageError``.
        """

    @abstractmethod
    def equity(self) -> Sequence[EquityPoint]:
        """Account value once a cycle, oldest first, the opening equity being the first."""

    @abstractmethod
    def prior(self, before_ms: int) -> PriorDecision:
        """The last applied decision before a cycle, and how the cycle before it ended."""


class AuditSink(ABC):
    """The journal: append-only, on disk before anything else happens."""

    @abstractmethod
    def intent(self, cycle_ms: int, order: PlaceOrder) -> None:
        """Write down an order before it is sent.

        Raises ``StorageError``: then an order that increases exposure must not be sent; protection and
        reductions go out all the same, with an alert.
        """

    @abstractmethod
    def append(self, kind: str, cycle_ms: int, body: Mapping[str, Any]) -> None:
        """Write one record (``decision``, ``execution``, ``cycle_report``, …)."""

    def reply(self, cycle_ms: int, reply: ModelReply) -> None:
        """Write down a raw reply before it is judged."""
        self.append("reply", cycle_ms, jsonable(reply))

    @abstractmethod
    def applied(self, cycle_ms: int, decision: Decision) -> None:
        """Write down that a decision is being applied, before its first order. Raises ``StorageError``."""

    @abstractmethod
    def last_applied(self) -> tuple[int, Decision] | None:
        """Cycle time and decision that were applied last, read from the journal itself."""

    @abstractmethod
    def strangers(self, orders: Sequence[OpenOrder]) -> tuple[OpenOrder, ...]:
        """Those of ``orders`` that somebody else sent, as far as the journal proves it.

        All carry our tag. A journal that is damaged, or younger than an order, proves nothing of it. Raises
        ``StorageError``.
        """
