"""Keeping secrets out of everything that is written.

Belongs here: what a secret looks like, and its replacement in text and in nested values.
Does not belong here: which secrets there are (constructors are handed the values), file formats.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import from_json, to_json

REDACTED = "[redacted]"

# A private key is 0x and 64 hex digits; so is a transaction hash, which a log can do without.
_PATTERN = re.compile(r"\b0x[0-9a-fA-F]{64}\b|\bsk-[A-Za-z0-9_-]{8,}", re.ASCII)


class Redactor:
    """Replaces secrets by ``[redacted]``.

    Args:
        secrets: the values to hide; a private key is hidden with and without ``0x``, in any case.
        by_pattern: also hide whatever looks like a private key or an ``sk-…`` API key.
    """

    def __init__(self, secrets: Sequence[str] = (), *, by_pattern: bool = False) -> None:
        bare = [secret[2:] for secret in secrets if re.fullmatch(r"0[xX][0-9a-fA-F]{64}", secret)]
        # The longest first: a secret that starts with another one must not leave its rest behind.
        known = sorted({*filter(None, secrets), *bare}, key=len, reverse=True)
        alternatives = [f"(?i:{re.escape(s)})" if s in bare else re.escape(s) for s in known]
        self._known = re.compile("|".join(alternatives)) if alternatives else None
        self._by_pattern = by_pattern
        # One that a bare one is in is looked for with it, in any case.
        self._exact = tuple(secret for secret in known if not any(one in secret for one in bare))
        self._any_case = tuple((max(re.findall(r"\d*", secret), key=len), secret.lower()) for secret in bare)
        # Only what JSON spells as it is can be looked for in JSON text.
        self._is_plain = all(json.dumps(secret) == f'"{secret}"' for secret in known)

    def text(self, text: str) -> str:
        """``text`` without secrets."""
        if self._known is not None:
            text = self._known.sub(REDACTED, text)
        return _PATTERN.sub(REDACTED, text) if self._by_pattern else text

    def is_absent(self, ascii_json: str) -> bool:
        """Whether JSON text certainly holds no secret; False also where only :meth:`value` can tell."""
        if self._by_pattern or not self._is_plain:
            return False
        if any(secret in ascii_json for secret in self._exact):
            return False
        # Its longest digits, the same in any case, are mostly not there: the text need not be made lower.
        suspected = [secret for digits, secret in self._any_case if digits in ascii_json]
        lowered = ascii_json.lower() if suspected else ""
        return not any(secret in lowered for secret in suspected)

    def value(self, value: Any) -> Any:  # noqa: ANN401 (JSON: whatever came in goes out)
        """A nested JSON value whose every string, keys included, is without secrets."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value

    def json(self, payload: bytes) -> bytes:
        """JSON text without secrets; the same bytes when it holds none."""
        text = payload.decode()
        return payload if self.text(text) == text else to_json(self.value(from_json(payload)))
