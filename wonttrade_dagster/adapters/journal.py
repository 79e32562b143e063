"""The journal: append-only NDJSON, on disk before anything else happens.

Belongs here: how a record is written so that a kill or a full disk loses nothing, and how it is found again.
Does not belong here: what is worth a record (``adapters.records``, ``core.cycle``), queries (the ledger).

One line a record, see ``journal_line``. Kinds written here: ``intent`` (an order before it is sent),
``applied`` (a decision whose plan is taken on), ``torn`` (a cut line was moved to ``<name>.torn``), ``gap``
(no write was taken for a while); every other kind is the caller's. What a missing intent proves is told by
``journal_orders``.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from pydantic import ValidationError

from wonttrade_dagster.adapters import files, journal_orders, ndjson
from wonttrade_dagster.adapters.append_only import AppendOnlyFile
from wonttrade_dagster.adapters.clock import SystemClock
from wonttrade_dagster.adapters.journal_line import (
    JournalRecord,
    compact,
    head_of,
    is_of_kind,
    line_of,
    parsed,
)
from wonttrade_dagster.adapters.redaction import Redactor
from wonttrade_dagster.core.codec import decode
from wonttrade_dagster.core.errors import StorageError
from wonttrade_dagster.core.model import Decision, OpenOrder, PlaceOrder
from wonttrade_dagster.core.ports import AuditSink, Clock

UNREADABLE = "unreadable"
"""The kind under which a complete line that is no record is handed to a reader."""

_MILLISECONDS_PER_HOUR = 3_600_000


class Journal(AuditSink):
    """An append-only file of records that any number of processes may write.

    Args:
        path: the file; made on the first append, with its folders.
        sync_every: fsync after so many records; 1 for the live loop. More is for backtests, which can be
            repeated: leave a ``with`` block at the end, or call :meth:`sync`.
        secrets: values that are replaced by ``[redacted]`` wherever they occur.
        account: whose records are written, and asked for: a file that another account (or the rehearsal)
            wrote before must not hand its decisions to this one. Empty for a journal with a single owner.
        clock: tells when a record was written.
        sync_aside: within a ``with`` block, let the disk take a batch while its writer goes on; the append
            that ends the next one waits for that. A failure is raised there, or at the end of the block.
    """

    def __init__(
        self,
        path: Path,
        *,
        sync_every: int = 1,
        secrets: Sequence[str] = (),
        account: str = "",
        clock: Clock | None = None,
        sync_aside: bool = False,
    ) -> None:
        self.path = path
        self.account = account
        self._sync_every = sync_every
        self._redactor = Redactor(secrets)
        self._clock = clock or SystemClock()
        self._file = AppendOnlyFile(path)
        self._unsynced = 0
        self._sync_aside = sync_aside
        self._syncer: ThreadPoolExecutor | None = None
        self._syncing: Future[None] | None = None
        self._last: tuple[int, int, int] | None = None  # inode, size, seq after our last append
        self._gap_path = path.with_name(f"{path.name}.gap")
        self._gap_since_ms: int | None = None  # the first append that was not taken since one was
        self._is_entered = self._is_alone = False  # alone: locked, and the gaps of others are told

    def __enter__(self) -> Self:
        """The file stays open and locked from the first append on: nobody else writes to it meanwhile."""
        self._file.keep_open()
        self._syncer = ThreadPoolExecutor(1, "journal") if self._sync_aside else None
        self._is_entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.sync()
        finally:
            if self._syncer is not None:
                self._syncer.shutdown()
                self._syncer = self._syncing = None
            self._is_entered = self._is_alone = False
            self._file.close()

    # --- writing ---

    def append(self, kind: str, cycle_ms: int, body: Mapping[str, Any] | bytes) -> None:
        """Write one record; it is on disk when this returns (see ``sync_every``). Raises ``StorageError``.

        ``body`` may be its JSON already, as ``journal_line.compact`` spells it.
        """
        try:
            written = self._written(kind, body)
            if self._unsynced + 1 >= self._sync_every:
                self._finish_sync()
            with self._file.opened() as file:
                self._repair_tail(file)
                self._close_gap(file)
                self._write(file, kind, cycle_ms, written)
                if self._unsynced >= self._sync_every:
                    self._sync(file)
        except StorageError:
            self._open_gap()
            raise

    def intent(self, cycle_ms: int, order: PlaceOrder) -> None:
        """Write down an order before it is sent. Raises ``StorageError``: then it must not be sent."""
        self.append("intent", cycle_ms, {"order": order})

    def applied(self, cycle_ms: int, decision: Decision) -> None:
        """Write down that a decision is being applied, before its first order. Raises ``StorageError``."""
        self.append("applied", cycle_ms, {"decision": decision})

    def sync(self) -> None:
        """Put everything written so far on disk. Raises ``StorageError``."""
        self._finish_sync()
        if self._unsynced:
            with self._file.opened() as file:
                self._sync(file)
            self._finish_sync()

    # --- reading ---

    def records(self, kind: str | None = None) -> Iterator[JournalRecord]:
        """Every record of ``kind`` (None: of any kind), oldest first.

        A complete line that is no record is not left out silently: it comes as kind ``unreadable`` with
        its number and length. A cut last line is still being written, or is moved aside by the next append.
        """
        for number, line in enumerate(self._lines(), start=1):
            record = parsed(line)
            if record is None:
                record = JournalRecord(number, UNREADABLE, "", 0, 0, {"line": number, "bytes": len(line)})
            if kind is None or record.kind == kind:
                yield record

    def of_cycle(self, cycle_ms: int) -> Iterator[JournalRecord]:
        """This account's records of one cycle, oldest first; the other lines are not parsed."""
        mark = f'"cycle_ms":{cycle_ms},'.encode()
        for line in self._lines():
            record = parsed(line) if mark in line[:300] else None
            if record is not None and (record.cycle_ms, record.account) == (cycle_ms, self.account):
                yield record

    def last_applied(self) -> tuple[int, Decision] | None:
        """Cycle time and decision that were applied last; reads backwards from the end of the file."""
        for record in self.newest("applied"):
            return record.cycle_ms, _decoded(Decision, record, "decision")
        return None

    def intents(self, cycle_ms: int) -> tuple[PlaceOrder, ...]:
        """The orders of a cycle that were, or were about to be, sent; oldest first."""
        found: list[PlaceOrder] = []
        for record in self.newest("intent"):
            if record.cycle_ms == cycle_ms:
                found.append(_decoded(PlaceOrder, record, "order"))
            elif record.recorded_at_ms < cycle_ms - _MILLISECONDS_PER_HOUR:
                break  # an intent is written during its cycle: what is older cannot belong to it
        return tuple(reversed(found))

    def newest(self, kind: str) -> Iterator[JournalRecord]:
        """This account's records of one kind, newest first; reads no further back than the caller asks."""
        try:
            for line in ndjson.lines_backwards(self.path):
                record = parsed(line) if is_of_kind(line, kind) else None
                if record is not None and (record.kind, record.account) == (kind, self.account):
                    yield record
        except OSError as error:
            raise StorageError(f"{self.path} cannot be read ({error.strerror}): make it readable") from error

    def strangers(self, orders: Sequence[OpenOrder]) -> tuple[OpenOrder, ...]:
        """Orders under our tag that this journal proves to be somebody else's. Raises ``StorageError``."""
        try:
            lines = ndjson.lines_backwards(self.path)
            return journal_orders.strangers(lines, self.account, orders, is_witness=self._is_witness())
        except OSError as error:
            raise StorageError(f"{self.path} cannot be read ({error.strerror}): make it readable") from error

    # --- the file ---

    def _repair_tail(self, file: BinaryIO) -> None:
        """Give the next record a line of its own after a writer died in the middle of one."""
        if self._last is not None and self._last[:2] == _identity(file):
            return
        tail = ndjson.tail_without_newline(file)
        if not tail:
            return
        if parsed(tail) is not None:
            files.write_whole(file, b"\n", _identity(file)[1])
            return
        self._move_aside(tail)
        os.ftruncate(file.fileno(), _identity(file)[1] - len(tail))
        moved = {"bytes": len(tail), "moved_to": self._torn_path.name}
        self._write(file, "torn", 0, self._written("torn", moved))

    def _open_gap(self) -> None:
        """Remember that a write was not taken: what the journal does not know since then proves nothing.

        Here for this process, whose next append tells; in a file for the next one, where the disk takes it.
        """
        if self._gap_since_ms is None:
            self._gap_since_ms = self._clock.now_ms()
        with suppress(OSError), self._gap_path.open("xb") as file:
            file.write(str(self._gap_since_ms).encode())

    def _close_gap(self, file: BinaryIO) -> None:
        begun = [] if self._gap_since_ms is None else [self._gap_since_ms]
        if not begun and self._is_alone:
            return
        self._is_alone = self._is_entered
        if is_kept := self._gap_path.exists():
            since = self._gap_path.read_bytes()
            begun.append(int(since) if since.isdigit() else 0)  # made on a full disk: it says no time
        if not begun:
            return
        gap = {"since_ms": min(begun), "until_ms": self._clock.now_ms()}
        self._write(file, journal_orders.GAP, 0, self._written(journal_orders.GAP, gap))
        self._gap_since_ms = None
        if is_kept:
            self._gap_path.unlink()

    def _is_witness(self) -> bool:
        """Whether the newest line is of this process, and every append since the gap before it was taken."""
        if self._last is None or self._gap_since_ms is not None:
            return False
        try:
            state = self.path.stat()
        except OSError:
            return False
        return self._last[:2] == (state.st_ino, state.st_size)

    @property
    def _torn_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.torn")

    def _move_aside(self, tail: bytes) -> None:
        """On disk there before it is cut off here: a kill in between leaves it twice, never nowhere."""
        with self._torn_path.open("ab") as file:
            file.write(tail + b"\n")
            file.flush()
            os.fsync(file.fileno())
        files.sync_directory(self.path.parent)

    def _write(self, file: BinaryIO, kind: str, cycle_ms: int, body: bytes) -> None:
        inode, size = _identity(file)
        seq = self._last_seq(inode, size) + 1
        line = line_of(head_of(seq, kind, self.account, cycle_ms, self._clock.now_ms()), body)
        files.write_whole(file, line, size)
        self._unsynced += 1
        self._last = (inode, size + len(line), seq)

    def _last_seq(self, inode: int, size: int) -> int:
        if self._last is not None and self._last[:2] == (inode, size):
            return self._last[2]
        newest = (record for line in ndjson.lines_backwards(self.path) if (record := parsed(line)))
        return next((record.seq for record in newest), 0)

    def _sync(self, file: BinaryIO) -> None:
        self._finish_sync()
        if self._syncer is None:
            os.fsync(file.fileno())
        else:
            # Of its own, for the file may be closed meanwhile: it is opened anew where it was moved away.
            self._syncing = self._syncer.submit(_sync_and_close, os.dup(file.fileno()))
        self._unsynced = 0

    def _finish_sync(self) -> None:
        """Wait until what is being synced is on disk."""
        syncing, self._syncing = self._syncing, None
        if syncing is None:
            return
        try:
            syncing.result()
        except OSError as error:
            raise files.storage_error(self.path, error) from error

    def _written(self, kind: str, body: Mapping[str, Any] | bytes) -> bytes:
        """The body as it will stand in the file, without secrets."""
        try:
            text = body if isinstance(body, bytes) else compact(body)
            if self._redactor.is_absent(text.decode("ascii")):
                return text
            return compact(self._redactor.value(json.loads(text)))
        except ValueError as error:
            raise StorageError(
                f"a record of kind {kind!r} is no JSON and was not written: {error}"
            ) from error

    def _lines(self) -> Iterator[bytes]:
        """Complete lines only; a last line without newline counts when it is a whole record."""
        try:
            pending: bytes | None = None
            for line in ndjson.lines(self.path):
                if pending is not None:
                    yield pending
                pending = line
        except OSError as error:
            raise StorageError(f"{self.path} cannot be read ({error.strerror}): make it readable") from error
        if pending is not None and (parsed(pending) is not None or self._ends_with_newline()):
            yield pending

    def _ends_with_newline(self) -> bool:
        with self.path.open("rb") as file:
            return not ndjson.tail_without_newline(file)


def _sync_and_close(handle: int) -> None:
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _identity(file: BinaryIO) -> tuple[int, int]:
    """Inode and size: whether the file is as our last append left it."""
    state = os.fstat(file.fileno())
    return state.st_ino, state.st_size


def _decoded(kind: type[Any], record: JournalRecord, field: str) -> Any:  # noqa: ANN401 (of type ``kind``)
    try:
        return decode(kind, json.dumps(record.body[field]))
    except (KeyError, ValidationError) as error:
        raise StorageError(
            f"line {record.seq} of the journal ({record.kind}) is not readable by this version: "
            "move the journal away or use the version that wrote it"
        ) from error
