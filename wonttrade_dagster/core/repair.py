"""The repair call: the model sees its own unusable reply once more, and what is wrong with it.

Belongs here: which refusals are worth a second call, and its prompt. Does not belong here: making it
(``core.llm_engine``), judging the second reply, which nobody repairs.
"""

import hashlib
from dataclasses import replace

from wonttrade_dagster.core.model import ModelReply, Prompt, Refusal
from wonttrade_dagster.core.prompt_text import quoted

REPAIRABLE = frozenset({"invalid_json", "violations"})
_REPLY_CHARS = 6_000
_DETAIL_CHARS = 300


def repair_prompt(prompt: Prompt, reply: ModelReply, refusal: Refusal) -> Prompt:
    """The same two messages with the refused reply and its violations appended to the second."""
    found = "\n".join(
        f"- {v.rule} at {quoted(v.path, 80)}: {quoted(v.detail, _DETAIL_CHARS)}" for v in refusal.violations
    )
    user = (
        f"{prompt.user.rstrip()}\n\n# Your answer to this was refused\n\n"
        "It was not applied. This is your only chance to correct it: answer again with one bare JSON object "
        "that follows every rule. If it is refused again, positions and protection stay as they are.\n\n"
        f"```text\n{quoted(reply.text, _REPLY_CHARS)}\n```\n\n"
        f"What was wrong with it:\n\n{found or '- ' + quoted(refusal.detail, _DETAIL_CHARS)}\n"
    )
    digest = hashlib.sha256(f"{prompt.system}\0{user}".encode()).hexdigest()
    return replace(prompt, user=user, prompt_sha256=digest)
