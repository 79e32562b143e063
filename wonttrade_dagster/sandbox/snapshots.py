"""The venue's state as JSON and back, so that "the venue" survives the death of everybody else.

Belongs here: what is saved. Does not belong here: files and HTTP (``venue_app``).

What is drawn from the seed is not saved: a snapshot belongs to a venue of the same seed and listing.
"""

from dataclasses import dataclass, field

from wonttrade_dagster.core import codec
from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.sandbox.account_log import Account
from wonttrade_dagster.sandbox.agents import Agent, AgentBook
from wonttrade_dagster.sandbox.nonces import NonceBook
from wonttrade_dagster.sandbox.tape import ScriptedMove
from wonttrade_dagster.sandbox.venue import LoopbackVenue


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that the seed does not give."""

    seed: int
    clock_offset_ms: int
    settled_ms: int
    moves: dict[str, list[ScriptedMove]]
    agents: list[Agent]
    nonces: dict[str, list[int]]
    accounts: list[Account]
    next_oid: int
    next_tid: int
    recording_shift_days: dict[str, int] = field(default_factory=dict)


def save(venue: LoopbackVenue) -> bytes:
    """The venue as JSON bytes."""
    with venue.lock:
        venue.settle()
        return codec.encode(
            Snapshot(
                seed=venue.market.seed,
                clock_offset_ms=venue.clock.offset_ms,
                settled_ms=venue.settled_ms,
                moves=venue.market.tape.moves(),
                agents=venue.agents.all(),
                nonces=venue.nonces.saved(),
                accounts=list(venue.accounts.values()),
                next_oid=venue.next_oid,
                next_tid=venue.next_tid,
                recording_shift_days=venue.market.tape.anchors(),
            )
        )


def restore(venue: LoopbackVenue, data: bytes) -> None:
    """Put a saved venue back; time goes on from then to now.

    Raises:
        UsageError: the snapshot was taken from a venue of another seed, or is none.
    """
    snapshot = _read(data)
    if snapshot.seed != venue.market.seed:
        raise UsageError(
            f"the snapshot was taken from a sandbox with seed {snapshot.seed}, this one has "
            f"{venue.market.seed}: start it with --seed {snapshot.seed}"
        )
    with venue.lock:
        venue.market.tape.anchor(snapshot.recording_shift_days)
        venue.clock.offset_ms = snapshot.clock_offset_ms
        venue.settled_ms = snapshot.settled_ms
        venue.market.tape.replace_moves(snapshot.moves)
        venue.agents = AgentBook(snapshot.agents)
        venue.nonces = NonceBook(snapshot.nonces)
        venue.accounts = {account.address: account for account in snapshot.accounts}
        venue.next_oid, venue.next_tid = snapshot.next_oid, snapshot.next_tid
        venue.revision += 1
        venue.settle()


def _read(data: bytes) -> Snapshot:
    try:
        decoded = codec.decode(Snapshot, data)
    except ValueError as error:
        raise UsageError("this is not a snapshot of the sandbox: it came from /sandbox/save?") from error
    if not isinstance(decoded, Snapshot):
        raise UsageError("this is not a snapshot of the sandbox")
    return decoded
