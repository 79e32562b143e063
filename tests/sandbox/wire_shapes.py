"""A comparer of JSON shapes: keys and types of our answer against those of the real venue's.

Values differ, lists differ in length; a key or a type may not. What the protocol calls optional, and what the
venue has added or dropped since a recording was made, is listed here by name.
"""

from typing import Any

Json = Any

OPTIONAL = frozenset(
    {
        "cloid",
        "reduceOnly",
        "liquidation",
        "builderFee",
        "isDelisted",
        "onlyIsolated",
        "marginMode",
        "fullName",
        "rawUsd",
    }
)
"""Present only when set, or only for isolated positions (protocol §2.1, §2.3 to §2.5)."""

CHANGED = frozenset(
    {"maxTradeSzs", "origSz", "tid", "feeToken", "twapId", "marginTables", "collateralToken"}
    | {"marginTableId", "cumFunding", "maxLeverage", "time", "crossMaintenanceMarginUsed"}
)
"""Added to or dropped from the venue's answers since 2023: absence on either side is no finding."""

NULLABLE = frozenset(
    {"liquidationPx", "nSamples", "tif", "cloid", "twapId", "premium", "midPx", "impactPxs", "stakingLink"}
    | {"trial", "nextTrialAvailableTimestamp", "evmContract", "fullName", "nonce", "specialStatuses"}
)


def differences(theirs: Json, ours: Json, where: str = "$") -> list[str]:
    """What is wrong with the shape of ``ours``, one line each; nothing when it could be the venue's."""
    if theirs is None or ours is None:
        is_fine = theirs is ours or where.rpartition(".")[2] in NULLABLE
        return [] if is_fine else [f"{where}: {theirs!r} against {ours!r}"]
    if type(theirs) is not type(ours):
        return [f"{where}: {type(theirs).__name__} {theirs!r} against {type(ours).__name__} {ours!r}"]
    if isinstance(theirs, dict):
        return _of_objects(theirs, ours, where)
    if isinstance(theirs, list):
        return _of_lists(theirs, ours, where)
    return _of_texts(theirs, ours, where) if isinstance(theirs, str) else []


def _of_objects(theirs: dict[str, Json], ours: dict[str, Json], where: str) -> list[str]:
    found = [
        f"{where}.{key} is {'missing' if key in theirs else 'too much'}"
        for key in sorted((theirs.keys() ^ ours.keys()) - OPTIONAL - CHANGED)
    ]
    for key in theirs.keys() & ours.keys():
        found += differences(theirs[key], ours[key], f"{where}.{key}")
    return found


def _of_lists(theirs: list[Json], ours: list[Json], where: str) -> list[str]:
    if len({type(item) for item in theirs}) > 1:  # a tuple: a pair of name and object, a time and a value
        if len(theirs) != len(ours):
            return [f"{where}: {len(theirs)} members against {len(ours)}"]
        pairs = zip(theirs, ours, strict=True)
        return [line for n, (a, b) in enumerate(pairs) for line in differences(a, b, f"{where}[{n}]")]
    found: list[str] = []
    for item in ours if theirs else []:
        against = [differences(other, item, f"{where}[]") for other in theirs[:50]]
        found += min(against, key=len)
    return found


def _of_texts(theirs: str, ours: str, where: str) -> list[str]:
    """A number stays a number, in the venue's print: a decimal point, no exponent."""
    if not _is_number(theirs):
        return []
    is_fine = _is_number(ours) and "e" not in ours.lower() and ("." in ours or "." not in theirs)
    return [] if is_fine else [f"{where}: the number {theirs!r} against {ours!r}"]


def _is_number(text: str) -> bool:
    return text.removeprefix("-").replace(".", "", 1).isdigit()
