"""The hostile-reply corpus's reader and its referee: ``python -m bench replies``.

Belongs here: cases from files (``cases``) and the situations they are judged in (``scenes``), random damage
(``mutations``), the referee who says whether an applied decision obeys the rules (``referee``), one judgement
with everything that is asked of it (``trial``).
Does not belong here: the cases themselves (``tests/corpus/replies``), anything that the product needs to run.
"""
