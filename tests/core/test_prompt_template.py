"""Templates of a user: what they may ask for, and that a wrong one is told by name."""

from dataclasses import replace

import pytest
from trader_samples import PROMPTS, builder, context_inputs

from wonttrade_dagster.adapters.prompts import load_prompt
from wonttrade_dagster.core.errors import ConfigurationError


def user_message(source: str) -> str:
    template = replace(load_prompt(PROMPTS, "trader/v1"), user_source=source)
    return builder(template).build(context_inputs()).user


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{{ facts.nonsense }}", "nonsense"),
        ("{{ nonsense }}", "nonsense"),
        ("{{ facts.account.return }}", "return"),
        ("{{ facts.account.class.None }}", "class"),
        ("{{ 1 // 0 }}", "division"),
        ("{{ facts.symbols + 1 }}", "concatenate"),
        ("{{ facts.symbols[99].symbol }}", "no element"),
        ("line\n{% for %}", "line 2"),
    ],
)
def test_a_template_that_is_wrong_is_an_error_that_names_it(source: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=f"trader/v1.*{says}"):
        user_message(source)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ facts.account.return is defined }}", "False"),
        ("{{ facts.nonsense is defined }}", "False"),
        ("{{ facts.account.value_usd is defined }}", "True"),
        ("{{ facts.nonsense | default('none') }}", "none"),
        ("{{ {'class': 1}.class }}", "1"),
        ("{{ {'a': 1}.a }}", "1"),
        ("{{ facts.symbols[0].intraday.latest.macd == facts.symbols[0].intraday.latest['macd'] }}", "True"),
    ],
)
def test_a_template_asks_in_all_of_jinjas_ways(source: str, text: str) -> None:
    assert user_message(source) == text
