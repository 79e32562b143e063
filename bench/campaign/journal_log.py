"""The journal as an outsider reads it: by its documented form, without the product's own reader.

Belongs here: sequence, checksums, and which records there are. Does not belong here: whether they are right.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SEALED = re.compile(rb'^\{"seq":.*?,"body":(.*),"sha256":"([0-9a-f]{64})"\}\n$')


@dataclass(slots=True)
class JournalLog:
    """What the journal held so far; reads on from where it stopped.

    Attributes:
        path: the file.
        records: how many there were in all.
        counts: records by kind and cycle, of the file as it is now.
        intents: client order ids of every intent ever seen.
        faults: sentences about lines that are no record, or out of sequence.
    """

    path: Path
    records: int = 0
    counts: Counter[tuple[str, int]] = field(default_factory=Counter)
    intents: set[str] = field(default_factory=set)
    applied: dict[int, dict[str, Any]] = field(default_factory=dict)
    executions: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    reports: dict[int, dict[str, Any]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    _inode: int = 0
    _offset: int = 0
    _seq: int = 0

    def read(self) -> None:
        """Take in what was appended."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # a torn tail: the next writer moves it aside
                self._offset += len(line)
                self._take(line)

    def forget_file(self) -> None:
        """The file was deleted: the next one begins anew."""
        self.counts.clear()
        self.reports.clear()
        self._offset = self._seq = 0

    def _take(self, line: bytes) -> None:
        try:
            record = json.loads(line)
            body, seal = _SEALED.findall(line)[0]
            is_whole = hashlib.sha256(body).hexdigest().encode() == seal
        except (ValueError, KeyError, TypeError, IndexError):
            self.faults.append(f"line {self._seq + 1} of the journal is no record: {line[:80]!r}")
            return
        if not is_whole:
            self.faults.append(f"record {record['seq']} of the journal does not match its checksum")
        if record["seq"] != self._seq + 1:
            self.faults.append(f"the journal goes from record {self._seq} to {record['seq']}")
        self._seq = record["seq"]
        self.records += 1
        self._file(record["kind"], record["cycle_ms"], record["body"])

    def _file(self, kind: str, cycle_ms: int, body: dict[str, Any]) -> None:
        self.counts[kind, cycle_ms] += 1
        match kind:
            case "intent":
                self.intents.add(body["order"]["cloid"])
            case "applied":
                self.applied[cycle_ms] = body["decision"]
            case "execution":
                self.executions.setdefault(cycle_ms, []).append(body)
            case "cycle_report":
                self.reports[cycle_ms] = body

    def missing(self, acknowledged: Counter[tuple[str, int]]) -> Iterator[tuple[str, int, int]]:
        """Kind, cycle and number of records that a writer was told are kept, and that are not there."""
        for (kind, cycle_ms), times in acknowledged.items():
            found = self.counts[kind, cycle_ms]
            if found < times:
                yield kind, cycle_ms, times - found
