"""The fault campaign's parts: ``python -m bench faults``.

Belongs here: what goes wrong and when (``draws``), the world that outlives the trading process (``servers``,
``world``), the process that is killed (``trader``, ``steps``), and the judgement afterwards (``audit``).
Does not belong here: anything that the product needs to run.
"""
