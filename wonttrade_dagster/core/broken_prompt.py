"""A prompt that cannot be used, as a part of the cycle: it refuses decisions, and nothing else.

Belongs here: what stands where the context builder would. Does not belong here: why it is broken.
"""

from dataclasses import dataclass

from wonttrade_dagster.core.context import ContextBuilder, ContextInputs, PromptTemplate
from wonttrade_dagster.core.errors import ConfigurationError
from wonttrade_dagster.core.model import ExecutionRules, IndicatorSetting, Prompt, RiskLimits

NO_TEMPLATE = PromptTemplate("", "", "", {}, "", "")


@dataclass(frozen=True, slots=True)
class BrokenPrompt(ContextBuilder):
    """Says at each cycle why there is no prompt; ``fault`` is that sentence."""

    fault: str = ""

    def build(self, inputs: ContextInputs) -> Prompt:
        """Raise ``ConfigurationError``."""
        del inputs
        raise ConfigurationError(self.fault)


def broken_prompt(
    fault: str, limits: RiskLimits, rules: ExecutionRules, cycle_minutes: int, indicators: IndicatorSetting
) -> BrokenPrompt:
    """The stand-in for a builder of the same settings."""
    return BrokenPrompt(NO_TEMPLATE, limits, rules, cycle_minutes, indicators, fault)
