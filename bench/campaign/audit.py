"""The judgement of a campaign: what must hold after a clean cycle, and at the end.

Belongs here: comparing the venue's word, the journal and what the processes told. Does not belong here:
reading them (``books``, ``journal_log``), deciding what goes wrong (``draws``).
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import product
from typing import Any

from bench.campaign.books import Books, Look
from bench.campaign.draws import CyclePlan
from bench.campaign.journal_log import JournalLog
from bench.campaign.trader import Ending
from bench.campaign.world import World
from bench.candles import SYMBOLS
from wonttrade_dagster.core.client_order_id import cloid, is_ours
from wonttrade_dagster.core.model import OrderPurpose

ATTEMPTS = 8
MIN_ORDER_USD = Decimal(10)
MIN_STOP_USD = Decimal("12.5")
"""A stop some way below the price is worth less than the position that it closes."""
ENTRIES = frozenset({OrderPurpose.OPEN, OrderPurpose.INCREASE})
TRAVEL_MS = 700
"""How much later than the age limit an order may arrive that was sent within it."""
WORDS = ("ended", "stored", "refused", "crashed", "hung")
"""What a process tells of its end; ``stored``: an earlier one did the work."""
RETRYABLE = frozenset({"stop_beyond_liquidation", "buying_power"})


@dataclass(frozen=True, slots=True)
class Sent:
    """What a client order id of ours stands for."""

    cycle_ms: int
    symbol: str
    purpose: OrderPurpose


@dataclass(frozen=True, slots=True)
class Cycle:
    """One cycle that was run: its plan, and under which time limits."""

    plan: CyclePlan
    cycle_ms: int
    max_age_ms: int


@dataclass(slots=True)
class Audit:
    """Everything known so far, and what was wrong with it.

    Attributes:
        tag: marks our orders.
        violations: sentences, each with its cycle.
        counts: what happened, for the reader.
    """

    world: World
    books: Books
    journal: JournalLog
    tag: str
    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    cycles: dict[int, Cycle] = field(default_factory=dict)
    now: int = 0
    _sent: dict[str, Sent] = field(default_factory=dict)
    _kept: Counter[tuple[str, int]] = field(default_factory=Counter)
    _intents: set[str] = field(default_factory=set)
    _booked: dict[int, set[int]] = field(default_factory=dict)
    _untold: set[int] = field(default_factory=set)
    _first_report_ms: int = 0
    _until_ms: int = 0
    _reported: set[str] = field(default_factory=set)

    # --- while it runs -----------------------------------------------------------------------------

    def begin(self, cycle: Cycle) -> None:
        """A cycle is about to run: its client order ids are ours to expect."""
        self.now = cycle.plan.number
        self.cycles[cycle.cycle_ms] = cycle
        # Protection that is put back before the model is asked has the ids of the moment before the cycle.
        for decided_ms, symbol, purpose, attempt in product(
            (cycle.cycle_ms, cycle.cycle_ms - 1), SYMBOLS, OrderPurpose, range(ATTEMPTS)
        ):
            name = cloid(self.tag, decided_ms, symbol, purpose.value, attempt)
            self._sent[name] = Sent(cycle.cycle_ms, symbol, purpose)
        if cycle.plan.disk_bytes is not None:
            self._untold.add(cycle.cycle_ms)

    def accuse(self, what: str) -> None:
        """Write down a violation, once."""
        if what not in self._reported:
            self._reported.add(what)
            self.violations.append(f"cycle {self.now}: {what}")

    def ended(self, ending: Ending) -> None:
        """A process is gone: remember what it was told is kept."""
        for line in ending.told:
            self._take(line)
        if ending.signal:
            self.counts["processes_killed"] += 1
        elif not any(key in line for line in ending.told for key in WORDS):
            self.accuse(f"the process ended without a word: {ending.told[-3:]}")

    def _take(self, line: dict[str, Any]) -> None:
        match line:
            case {"crashed": text}:
                self.accuse(f"a traceback instead of an error with a name:\n{text}")
            case {"hung": True}:
                self.accuse("the process hung")
            case {"kept": kind, "cycle_ms": cycle_ms}:
                self._kept[kind, cycle_ms] += 1
                self._intents.update([line["cloid"]] if "cloid" in line else [])
            case {"reported": cycle_ms, "copies": copies} if copies:
                self._booked[cycle_ms] = set(line["tids"])
                self._first_report_ms = self._first_report_ms or cycle_ms
                self._until_ms = max(self._until_ms, line["until_ms"])
            case {"did": "delete_data"}:
                self.data_deleted()
            case {"did": what}:
                self.counts[f"mischief_{what}"] += 1
            case {"ended": outcome, "reason": reason}:
                self.counts[f"outcome_{outcome}_{reason}"] += 1
            case {"refused": name}:
                self.counts[f"process_refused_{name}"] += 1

    def data_deleted(self) -> None:
        """Journal and ledger begin anew: what was kept before is gone by order."""
        self.counts["mischief_delete_data"] += 1
        self.journal.forget_file()
        self._kept.clear()
        self._booked.clear()
        self._first_report_ms = self._until_ms = 0

    # --- after a clean cycle -----------------------------------------------------------------------

    def clean(self, cycle: Cycle, ending: Ending, before: Look) -> None:
        """Everything that must hold within one cycle after the last fault was cleared."""
        look = self.books.look()
        self.counts["clean_cycles"] += 1
        end = ending.last("ended")
        if end is None:
            self.accuse(f"a cycle without any fault did not report: {ending.told[-2:]}")
            return
        for problem in self._problems(cycle, end, ending, before, look):
            self.accuse(problem)

    def resumed(self, ending: Ending) -> None:
        """A killed cycle was executed again without any fault, and came to its end."""
        if ending.last("ended") is None:
            self.counts["calmly_resumed_in_vain"] += 1  # what it needs was never stored, or it is too late
            return
        if any(line["stored"] == "executions" for line in ending.all("stored")):
            return  # it only had to report: the orders were all sent while there still were faults
        look = self.books.look()
        alerts = _alerts(ending)
        for problem in (*self._orphans(look), *self._bare(look, alerts, is_resumed=True)):
            told = [line for line in ending.told if "kept" not in line]
            self.accuse(f"after a killed cycle was executed again, {problem} {look.orders} {told}")

    def _problems(
        self, cycle: Cycle, end: dict[str, Any], ending: Ending, before: Look, look: Look
    ) -> Iterator[str]:
        alerts = _alerts(ending)
        yield from self._orphans(look)
        if end["ended"] == "applied":
            yield from self._protection(look, alerts)
            yield from self._positions(cycle, look)
            return
        if end["ended"] == "failed" and "Insufficient margin" in end["detail"]:
            self.counts["clean_but_without_margin"] += 1  # the venue's word on a decision that asked for more
            yield from self._protection(look, alerts)
            return
        valid = cycle.plan.style == "valid"
        if valid and not any(rule in end["detail"] for rule in RETRYABLE):
            yield f"a valid decision was not applied without any fault: {end}"
        yield from self._kept_as_it_was(ending, before, look)

    def _orphans(self, look: Look) -> Iterator[str]:
        for order in look.orders:
            mine = is_ours(order.cloid, self.tag) and order.trigger_px is not None
            if mine and order.symbol not in look.held:
                yield f"our trigger {order.oid} of {order.symbol} stands without a position"

    def _protection(self, look: Look, alerts: str) -> Iterator[str]:
        for symbol in SYMBOLS:
            if symbol not in look.held:
                continue
            for is_stop in (True, False):
                leg = "stop-loss" if is_stop else "take-profit"
                if not look.is_covered(symbol, is_stop=is_stop) and not self._is_remainder(
                    look, symbol, alerts
                ):
                    yield f"{look.held[symbol]} {symbol} stands without {leg}: {look.orders}"
                ours = [o for o in look.legs(symbol, is_stop=is_stop) if is_ours(o.cloid, self.tag)]
                if len(ours) > 1:
                    yield f"{len(ours)} {leg} orders of ours stand for {symbol}: {ours}"

    def _positions(self, cycle: Cycle, look: Look) -> Iterator[str]:
        self.journal.read()
        decision = self.journal.applied.get(cycle.cycle_ms)
        if decision is None:
            yield f"the journal does not hold the decision that was applied in {cycle.cycle_ms}"
            return
        for target in decision["targets"]:
            symbol, wanted = target["symbol"], Decimal(str(target["target_size"]))
            held = look.held.get(symbol, Decimal(0))
            if abs(held - wanted) * look.mids[symbol] >= MIN_ORDER_USD:
                yield f"{symbol}: {held} is held, {wanted} was decided"

    def _kept_as_it_was(self, ending: Ending, before: Look, look: Look) -> Iterator[str]:
        """A refused decision changes no exposure, and puts protection back where it knows how."""
        alerts = _alerts(ending)
        for symbol in SYMBOLS:
            held, was = look.held.get(symbol, Decimal(0)), before.held.get(symbol, Decimal(0))
            if held not in (was, 0):
                yield f"a refused decision moved {symbol} from {was} to {held}"
        yield from self._bare(look, alerts)

    def _is_remainder(self, look: Look, symbol: str, alerts: str) -> bool:
        """The venue takes no stop of less than 10 USD: then an alert must name the symbol."""
        is_small = abs(look.held[symbol]) * look.mids[symbol] < MIN_STOP_USD
        if is_small and symbol in alerts:
            self.counts["remainders_told"] += 1
            return True
        return False

    def _bare(self, look: Look, alerts: str, *, is_resumed: bool = False) -> Iterator[str]:
        """No stop-loss, though a decision names one. Without one there must be an alert."""
        for symbol in SYMBOLS:
            if symbol not in look.held or look.is_covered(symbol, is_stop=True):
                continue
            if self._is_remainder(look, symbol, alerts):
                continue
            if is_resumed and symbol in alerts:
                self.counts["bare_after_a_resumed_plan_and_alerted"] += (
                    1  # the plan is older than the position
                )
                continue
            if symbol in alerts and "NAMES NONE" in alerts:
                self.counts["bare_without_a_decision_and_alerted"] += 1
            else:
                yield f"{look.held[symbol]} {symbol} stands without stop-loss; alerts: {alerts or 'none'}"

    # --- from time to time -------------------------------------------------------------------------

    def check_all(self) -> None:
        """Orders, journal and fills since the campaign began."""
        if not self.books.gather():
            self.accuse("the harness lost sight of some orders: gather more often")
        self.journal.read()
        for problem in (
            *self.journal.faults,
            *(self._lost(*row) for row in self.journal.missing(self._kept)),
            *self._duplicates(),
            *self._late_or_unwritten(),
            *self._touched_foreigners(),
            *self._unbooked(),
            *self._misreported(),
        ):
            self.accuse(problem)
        self.journal.faults.clear()

    def _lost(self, kind: str, cycle_ms: int, count: int) -> str:
        return f"the journal lost {count} acknowledged {kind} record(s) of {self._number(cycle_ms)}"

    def _ours(self) -> Iterator[tuple[int, dict[str, Any], set[str]]]:
        """Every order with our tag: id, row, statuses."""
        for oid, statuses in self.books.statuses.items():
            row = self.books.order(oid)
            if is_ours(row["cloid"], self.tag):
                yield oid, row, set(statuses)

    def _duplicates(self) -> Iterator[str]:
        accepted: dict[str, set[int]] = defaultdict(set)
        entries: dict[tuple[int, str], set[str]] = defaultdict(set)
        for oid, row, statuses in self._ours():
            if any(not status.lower().endswith("rejected") for status in statuses):
                accepted[row["cloid"]].add(oid)
            sent = self._sent.get(row["cloid"])
            if sent and sent.purpose in ENTRIES and "filled" in statuses:
                entries[sent.cycle_ms, sent.symbol].add(row["cloid"])
        for name, oids in accepted.items():
            if len(oids) > 1:
                yield f"{self._name(name)} was sent and accepted {len(oids)} times: {sorted(oids)}"
        for (cycle_ms, symbol), names in entries.items():
            if len(names) > 1:
                yield f"{len(names)} entries of {symbol} filled in {self._number(cycle_ms)}: {sorted(names)}"

    def _late_or_unwritten(self) -> Iterator[str]:
        intents = self.journal.intents | self._intents
        for _oid, row, _statuses in self._ours():
            sent = self._sent.get(row["cloid"])
            if sent is None:
                yield f"order {row['oid']} has our tag and is of no cycle: {row}"
                continue
            cycle = self.cycles[sent.cycle_ms]
            is_entry = sent.purpose in ENTRIES
            if is_entry and row["timestamp"] - sent.cycle_ms > cycle.max_age_ms + TRAVEL_MS:
                age = row["timestamp"] - sent.cycle_ms
                yield f"{self._name(row['cloid'])} increased exposure {age} ms after its cycle"
            if row["cloid"] not in intents and (is_entry or sent.cycle_ms not in self._untold):
                yield f"{self._name(row['cloid'])} was sent without an intent in the journal"

    def _name(self, name: str) -> str:
        sent = self._sent.get(name)
        return f"{sent.purpose} of {sent.symbol} in {self._number(sent.cycle_ms)} ({name})" if sent else name

    def _number(self, cycle_ms: int) -> str:
        known = self.cycles.get(cycle_ms)
        return f"cycle {known.plan.number if known else '?'} ({cycle_ms})"

    def _touched_foreigners(self) -> Iterator[str]:
        for oid in {*self.world.limits, *self.world.triggers} - self.world.taken_back:
            if "canceled" in self.books.statuses.get(oid, {}):
                yield f"a person's order {oid} was cancelled: {self.books.order(oid)}"

    def _unbooked(self) -> Iterator[str]:
        """Every fill of the account is in exactly one report, whoever caused it."""
        booked = Counter(tid for tids in self._all_booked().values() for tid in tids)
        for tid, times in booked.items():
            if times > 1:
                yield f"fill {tid} is booked by {times} reports"
        for tid, fill in self.books.fills.items():
            in_time = self._first_report_ms <= fill["time"] < self._until_ms
            if self._first_report_ms and in_time and tid not in booked:
                yield f"fill {tid} is booked by no report: {fill}"

    def _misreported(self) -> Iterator[str]:
        """What the executions say of each order's fills is what the venue filled; remainders included."""
        filled: defaultdict[str, Decimal] = defaultdict(Decimal)
        for fill in self.books.fills.values():
            filled[fill.get("cloid", "")] += Decimal(fill["sz"])
        for executions in self.journal.executions.values():
            for result in executions[-1]["results"]:
                action, status = result["action"], result["status"]
                if action["kind"] != "place" or action["trigger_px"] is not None or status == "unknown":
                    continue
                said, done = Decimal(result["filled_base"]), filled[action["cloid"]]
                if said != done:
                    name = self._name(action["cloid"])
                    yield f"{name} filled {done}, its execution says {said} ({status})"

    def _all_booked(self) -> dict[int, set[int]]:
        """By cycle: told by the process, else found in the journal (it was killed before it could tell)."""
        found = {
            cycle_ms: {fill["tid"] for fill in report["fills"]}
            for cycle_ms, report in self.journal.reports.items()
        }
        return found | self._booked

    def summary(self) -> dict[str, Any]:
        """Counts for the reader."""
        ours = list(self._ours())
        sent = (self._sent.get(row["cloid"]) for _, row, _ in ours)
        purposes = Counter(each.purpose.value for each in sent if each is not None)
        return {
            "orders_of_ours": len(ours),
            **{f"orders_{name}": number for name, number in sorted(purposes.items())},
            "fills": len(self.books.fills),
            "liquidations": sum("liquidation" in fill for fill in self.books.fills.values()),
            "journal_records": self.journal.records,
            **dict(sorted(self.counts.items())),
        }


def _alerts(ending: Ending) -> str:
    return " ".join((ending.last("alerts") or {"alerts": []})["alerts"])
