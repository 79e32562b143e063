"""The pure part: what a cycle is and decides.

Belongs here: data contracts, indicators, the prompt, the judgement of a reply, the plan, the
simulated exchange, performance figures, and the one order in which a cycle runs them.
Does not belong here: I/O, a clock, randomness, Dagster, or any SDK; they come in as arguments
through :mod:`wonttrade_dagster.core.ports`.
"""
