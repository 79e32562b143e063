"""What the journal says of a cycle's large records, so that they can be checked later.

Belongs here: the hashes of what the model's prompt was made from, and the prompt's files once for each hash.
Does not belong here: the records themselves (``adapters.records``), the check (``core.replay``).
"""

import hashlib
from collections.abc import Mapping

from wonttrade_dagster.adapters.journal import Journal
from wonttrade_dagster.core.cycle import Record
from wonttrade_dagster.core.model import LlmContext, Stage

INPUTS = "inputs"
"""Kind of the record that holds the SHA-256 of each stage's JSON that is not in the journal itself."""

PROMPT = "prompt"
"""Kind of the record that holds the prompt's files; written when they are others than a cycle before."""


def digest(payload: bytes) -> str:
    """SHA-256 of a stage's JSON as it was recorded."""
    return hashlib.sha256(payload).hexdigest()


def write_inputs(journal: Journal, cycle_ms: int, digests: Mapping[Stage, str], context: Record) -> None:
    """Write down what a prompt was made from. Raises ``StorageError``.

    Args:
        journal: the live journal.
        cycle_ms: the cycle.
        digests: of the stages up to and with the prompt.
        context: the record of the prompt, or why there is none.
    """
    hashes = {}
    if isinstance(context, LlmContext):
        prompt = context.prompt
        hashes = {"template_sha256": prompt.template_sha256, "schema_sha256": prompt.schema_sha256}
        if hashes != _last_hashes(journal):
            body = {"template": prompt.template, **hashes, "files": context.prompt_files}
            journal.append(PROMPT, cycle_ms, body)
    journal.append(INPUTS, cycle_ms, {"sha256": {s.value: d for s, d in digests.items()}, **hashes})


def _last_hashes(journal: Journal) -> dict[str, str] | None:
    for record in journal.newest(INPUTS):
        if "template_sha256" in record.body:
            return {name: record.body[name] for name in ("template_sha256", "schema_sha256")}
    return None
