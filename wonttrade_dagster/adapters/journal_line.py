"""One line of a journal: what stands in it, how it is written, and whether it is still as it was written.

Belongs here: the bytes of a line, its seal, and reading it back.
Does not belong here: the file (``journal``), what a record is worth.

``{"seq", "kind", "account", "cycle_ms", "recorded_at_ms", "body", "sha256"}``, compact, in this order;
``sha256`` is that of the body's bytes as they stand in the line. Lines from before hold that of the body as
compact JSON with sorted keys: both are accepted.
"""

import codecs
import hashlib
import json
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from json.encoder import encode_basestring_ascii as _text
from typing import Any

from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

_BODY = b',"body":'
_HEAD_BYTES = 300
_SEAL_CHARS = len(',"sha256":""}') + 64
_ESCAPED = "wonttrade.json"
_OTHER = re.compile("[^\x00-\x7f]")
_MOST_MET = 4
_met: deque[tuple[bytes, bytes]] = deque(maxlen=_MOST_MET)
"""Characters met last, newest first, in UTF-8 and as JSON escapes them: a known one is found quicker."""


@dataclass(frozen=True, slots=True)
class JournalRecord:
    """One line of the journal.

    Attributes:
        seq: counts the lines of the file from 1.
        kind: what the body is.
        account: whose record it is, as the journal that wrote it was told.
        cycle_ms: the cycle it belongs to.
        recorded_at_ms: when it was written.
        body: the record itself, plain JSON.
    """

    seq: int
    kind: str
    account: str
    cycle_ms: int
    recorded_at_ms: int
    body: Mapping[str, Any]

    def json(self) -> bytes:
        """The body as it was handed in, for ``core.codec``."""
        return compact(self.body)


def compact(value: object) -> bytes:
    """JSON in ASCII: a lone surrogate or a line separator in a model's text cannot break the file.

    Raises:
        ValueError: a number is NaN or infinite, or something in it is no JSON.
    """
    return spelled(lambda: to_json(value), lambda: to_jsonable_python(value))


def spelled(quick: Callable[[], bytes], plain: Callable[[], object]) -> bytes:
    """As :func:`compact`, of something that has ways of its own.

    Args:
        quick: makes the text in UTF-8, ``NaN`` and ``Infinity`` written as such.
        plain: makes what ``json`` can spell, for what the quick way cannot.
    """
    try:
        text = quick()
    except PydanticSerializationError:  # half of a surrogate pair, which only the slow way can spell
        text = b""
    if text and not any(_may_hold(word, text) for word in (b"NaN", b"Infinity")):
        return _in_ascii(text)
    try:
        return json.dumps(plain(), separators=(",", ":"), allow_nan=False).encode("ascii")
    except PydanticSerializationError as error:
        raise ValueError(str(error)) from error


def _in_ascii(text: bytes) -> bytes:
    """JSON with every other character escaped: a prompt has few kinds, the same ones in every line."""
    if text.isascii():
        return text
    for character, escaped in tuple(_met):
        text = text.replace(character, escaped)
        if text.isascii():
            return text
    whole = text.decode()
    for other in dict.fromkeys(found[0] for found in islice(_OTHER.finditer(whole), _MOST_MET)):
        _met.appendleft((other.encode(), _escaped(other).encode()))
    return whole.encode("ascii", _ESCAPED)


def _escaped(characters: str) -> str:
    return json.dumps(characters)[1:-1]


def _pass_by(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return _escaped(error.object[error.start : error.end]), error.end


codecs.register_error(_ESCAPED, _pass_by)


def _may_hold(word: bytes, text: bytes) -> bool:
    """Whether a word stands where a number does: a prompt speaks of NaN, too, after a space."""
    capital = word[:1]  # a single letter is found many times quicker than a word, and a capital is rare
    at = text.find(capital)
    while at >= 0:
        if text.startswith(word, at) and text[at - 1 : at] in b":,[-":
            return True
        at = text.find(capital, at + 1)
    return False


def head_of(seq: int, kind: str, account: str, cycle_ms: int, recorded_at_ms: int) -> bytes:
    """What stands in a line before the body."""
    named = f'"kind":{_text(kind)},"account":{_text(account)}'
    return f'{{"seq":{seq},{named},"cycle_ms":{cycle_ms},"recorded_at_ms":{recorded_at_ms}'.encode()


def line_of(head: bytes, body: bytes) -> bytes:
    """The line, its newline included, of :func:`head_of` and the body's bytes."""
    return b'%b%b%b,"sha256":"%b"}\n' % (head, _BODY, body, hashlib.sha256(body).hexdigest().encode())


def is_of_kind(line: bytes, *kinds: str) -> bool:
    """Whether a line says so where its kind stands: to pass by others without parsing them."""
    head = line[:_HEAD_BYTES]
    return any(b'"kind":%b,' % json.dumps(kind).encode() in head for kind in kinds)


def parsed(line: bytes) -> JournalRecord | None:
    """The record of a line, or None for a line that is none (cut, overwritten, edited)."""
    raw, is_intact = opened(line)
    try:
        return JournalRecord(**{name: raw[name] for name in JournalRecord.__slots__}) if is_intact else None
    except KeyError:
        return None


def opened(line: bytes) -> tuple[Mapping[str, Any], bool]:
    """What a line says, and whether its seal holds; nothing and False for what is no line of a journal."""
    try:
        raw = json.loads(line)
        is_record = isinstance(raw["body"], dict)
        return raw, is_record and (
            _is_sealed(line, raw["sha256"]) or sorted_digest(raw["body"]) == raw["sha256"]
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}, False


def _is_sealed(line: bytes, digest: str) -> bool:
    # The first such bytes are the body's name: within a string the quotes would be escaped.
    whole = line.rstrip(b"\n")
    start = whole.find(_BODY) + len(_BODY)
    return hashlib.sha256(whole[start:-_SEAL_CHARS]).hexdigest() == digest


def sorted_digest(body: Mapping[str, Any]) -> str:
    """SHA-256 of a body as compact JSON with sorted keys: the same for two spellings of one content."""
    text = json.dumps(body, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
