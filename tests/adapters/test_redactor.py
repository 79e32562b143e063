"""The quick look for secrets in JSON text agrees with the thorough one."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from wonttrade_dagster.adapters.redaction import REDACTED, Redactor

KEY = "0x" + "7e57ca9a12" * 6 + "beef"
SECRETS = (KEY, "sk-canary-Zx81qPv0mN44tR", "12345678")
pieces = st.sampled_from([*SECRETS, KEY[2:].upper(), 'qu"ote', "ünïcödé", "\n", "\\", "\ud800"]) | st.text(
    max_size=5
)
words = st.lists(pieces, max_size=3).map("".join)
values = st.recursive(
    words | st.integers(0, 99_999_999) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.sampled_from(SECRETS) | words, max_size=3), values)
@example([KEY], {"a": KEY[2:].upper()})
@example(['qu"ote'], {"a": 'qu"ote'})
@example(["ünïcödé"], ["ünïcödé"])
@example(["\\"], ["\\"])
def test_a_text_without_a_secret_has_none_to_replace(secrets: list[str], value: object) -> None:
    redactor = Redactor(secrets)
    if redactor.is_absent(json.dumps(value)):
        assert redactor.value(value) == value


def test_a_secret_is_seen_and_plain_text_is_not_suspected() -> None:
    redactor = Redactor(SECRETS)
    assert redactor.is_absent(json.dumps({"account": "0x1234", "px": "97000.5"}))
    for secret in (*SECRETS, KEY[2:].upper()):
        assert not redactor.is_absent(json.dumps({"deep": [{"in": f"a {secret} b"}]})), secret
        assert redactor.value([secret]) in ([REDACTED], [f"0x{REDACTED}"])


def test_patterns_and_secrets_that_json_spells_otherwise_take_the_thorough_look() -> None:
    assert not Redactor((), by_pattern=True).is_absent("{}")
    assert not Redactor(['qu"ote']).is_absent("{}")
