"""The exception tree.

Expected failures of a cycle are *values* (:class:`~wonttrade_dagster.core.model.StageFailure`,
:class:`~wonttrade_dagster.core.model.Refusal`), so that protection and the report run in every cycle.
Exceptions are for what the caller cannot go on from::

    WontTradeError
    ├── ConfigurationError        wonttrade.toml is missing or wrong (exit code 2)
    ├── UsageError                a command was asked for something that cannot be (exit code 2)
    ├── UnknownCycleError         a cycle was asked for that is not stored
    ├── HistoryError              market history is missing, broken or not importable
    ├── StorageError              the disk or DuckDB did not take a write
    │   └── StorageLockedError    another process holds the DuckDB file
    ├── VenueError                Hyperliquid could not be asked or answered nonsense
    │   ├── VenueUnavailableError      nothing came back in time: for a read, ask again
    │   ├── VenueAnswerError           an answer came back that the protocol does not allow
    │   ├── VenueRefusedError          the venue refused the whole request by name
    │   └── UnknownOutcomeError        a write went out and its answer was lost: ask by client order id
    ├── ModelError                the language model gave no usable transport answer
    │   ├── ModelUnavailableError      it could not be reached before the deadline
    │   └── ModelAnswerError           it answered, but not with a chat completion
    ├── LeaseError                another process trades this account
    └── MoneyIdentityError        accounts do not add up: stop, never go on from here

Every message is one sentence that names the thing, the place and the remedy. No message ever holds a
secret.
"""


class WontTradeError(Exception):
    """Root of the tree. ``exit_code`` is what the command line ends with."""

    exit_code = 1


class ConfigurationError(WontTradeError):
    """``wonttrade.toml`` is missing, malformed or contradicts itself."""

    exit_code = 2


class UsageError(WontTradeError):
    """A command was called in a way that cannot work."""

    exit_code = 2


class UnknownCycleError(WontTradeError):
    """There is no record of the cycle that was asked for; names the nearest ones."""


class HistoryError(WontTradeError):
    """Market history is missing for what was asked, or a file cannot be imported."""


class StorageError(WontTradeError):
    """A file or database did not take a write; what was written before is intact."""


class StorageLockedError(StorageError):
    """Another process holds the DuckDB file past the deadline."""


class VenueError(WontTradeError):
    """The venue could not be used; says what was asked, what came back and what to do."""


class VenueUnavailableError(VenueError):
    """No answer in time: refused, reset, timed out, rate limited, or a 5xx."""


class VenueAnswerError(VenueError):
    """An answer that the protocol does not allow: wrong type, missing key, NaN, HTML."""


class VenueRefusedError(VenueError):
    """``{"status": "err"}``: the venue refused the whole request and said why."""


class UnknownOutcomeError(VenueError):
    """A write was sent and its answer was lost. Never send it again; ask by client order id."""


class ModelError(WontTradeError):
    """The language model gave no usable answer on the transport level."""


class ModelUnavailableError(ModelError):
    """Not reachable, or not finished before the deadline."""


class ModelAnswerError(ModelError):
    """An HTTP answer that is not a chat completion."""


class LeaseError(WontTradeError):
    """Another process holds the lease on this account."""


class MoneyIdentityError(WontTradeError):
    """A money identity does not hold. The state must not be used further."""
