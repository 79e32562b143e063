"""The venue's JSON as its documentation shows it: the assets, a context, an account, an order."""

from typing import Any

META = {
    "universe": [
        {"szDecimals": 2, "name": "SOL", "maxLeverage": 20, "marginTableId": 20},
        {"szDecimals": 1, "name": "MATIC", "maxLeverage": 20, "marginTableId": 20, "isDelisted": True},
        {"szDecimals": 5, "name": "BTC", "maxLeverage": 40, "marginTableId": 56},
        {"szDecimals": 0, "name": "HYPER", "maxLeverage": 3, "onlyIsolated": True},
    ],
    "marginTables": [
        [
            56,
            {
                "description": "tiered 40x",
                "marginTiers": [
                    {"lowerBound": "0.0", "maxLeverage": 40},
                    {"lowerBound": "150000000.0", "maxLeverage": 20},
                ],
            },
        ]
    ],
    "collateralToken": 0,
}
CONTEXT = {
    "funding": "0.0000125",
    "openInterest": "39338.76246",
    "prevDayPx": "84086.0",
    "dayNtlVlm": "3096053627.56",
    "premium": "-0.0001348801",
    "oraclePx": "83778.1",
    "markPx": "83757.0",
    "midPx": "83757.5",
    "impactPxs": ["83757.0", "83766.8"],
}
STATE = {
    "marginSummary": {
        "accountValue": "38252.7",
        "totalNtlPos": "377667.0",
        "totalRawUsd": "-339414.3",
        "totalMarginUsed": "37766.7",
    },
    "crossMarginSummary": {},
    "crossMaintenanceMarginUsed": "4720.8375",
    "withdrawable": "486.0",
    "assetPositions": [
        {
            "type": "oneWay",
            "position": {
                "coin": "BTC",
                "szi": "-4.5",
                "leverage": {"type": "isolated", "value": 10, "rawUsd": "-68.1"},
                "entryPx": "81285.0",
                "positionValue": "377667.0",
                "unrealizedPnl": "11884.306507",
                "returnOnEquity": "0.3249007326",
                "liquidationPx": None,
                "marginUsed": "37766.7",
                "maxLeverage": 40,
                "cumFunding": {"allTime": "982.4", "sinceOpen": "982.43637", "sinceChange": "0.0"},
            },
        }
    ],
    "time": 1790360864964,
}


def order(**changes: object) -> dict[str, Any]:
    row = {
        "coin": "BTC",
        "side": "A",
        "limitPx": "9.2037",
        "sz": "12.5",
        "oid": 3184595907,
        "timestamp": 1700126022555,
        "triggerCondition": "Price above 10.004",
        "isTrigger": True,
        "triggerPx": "10.004",
        "children": [],
        "isPositionTpsl": False,
        "reduceOnly": True,
        "orderType": "Take Profit Market",
        "origSz": "12.5",
        "tif": None,
        "cloid": None,
    }
    return row | changes
