"""Answers and frames of the real venue, as the protocol reference quotes them (2023 to 2026)."""

import json
from typing import Any

Json = Any


def _read(text: str) -> Json:
    return json.loads(text)


META = _read("""{"universe":[{"szDecimals":5,"name":"BTC","maxLeverage":40,"marginTableId":56},
  {"szDecimals":1,"name":"MATIC","maxLeverage":20,"marginTableId":20,"isDelisted":true}],
  "marginTables":[[55,{"description":"tiered 25x","marginTiers":[{"lowerBound":"0.0","maxLeverage":25},
  {"lowerBound":"100000000.0","maxLeverage":15}]}]],"collateralToken":0}""")

CONTEXT = _read("""{"funding":"0.0000125","openInterest":"39338.76246","prevDayPx":"84086.0",
  "dayNtlVlm":"3096053627.5618200302","premium":"-0.0001348801","oraclePx":"83778.1","markPx":"83757.0",
  "midPx":"83757.5","impactPxs":["83757.0","83766.8"],"dayBaseVlm":"36757.56691"}""")

CROSS = _read("""{"marginSummary":{"accountValue":"38252.7","totalNtlPos":"377667.0",
  "totalRawUsd":"-339414.3","totalMarginUsed":"37766.7"},
  "crossMarginSummary":{"accountValue":"38252.7","totalNtlPos":"377667.0","totalRawUsd":"-339414.3",
  "totalMarginUsed":"37766.7"},"crossMaintenanceMarginUsed":"4720.8375","withdrawable":"486.0",
  "assetPositions":[{"type":"oneWay","position":{"coin":"BTC","szi":"4.5","leverage":{"type":"cross",
  "value":10},"entryPx":"81285.0","positionValue":"377667.0","unrealizedPnl":"11884.306507",
  "returnOnEquity":"0.3249007326","liquidationPx":"74501.802790436","marginUsed":"37766.7","maxLeverage":40,
  "cumFunding":{"allTime":"982.43637","sinceOpen":"982.43637","sinceChange":"0.0"}}}],
  "time":1790360864964}""")

ISOLATED_LEVERAGE = _read("""{"type":"isolated","value":10,"rawUsd":"-68.126246"}""")

OPEN_ORDERS = _read("""[{"coin":"ETH","side":"B","limitPx":"1500.0","sz":"1.0","oid":313932628709,
  "timestamp":1770385175044,"origSz":"1.0","cloid":"0x00030050c829f0770000010000000073"},
  {"coin":"BTC","side":"A","limitPx":"71524.0","sz":"0.00015","oid":59534928822,"timestamp":1788780020402,
  "origSz":"0.00015","reduceOnly":true}]""")

LONG_ORDER = _read("""{"coin":"INJ","side":"A","limitPx":"9.2037","sz":"12.5","oid":3184595907,
  "timestamp":1700126022555,"triggerCondition":"Price above 10.004","isTrigger":true,"triggerPx":"10.004",
  "children":[],"isPositionTpsl":false,"reduceOnly":true,"orderType":"Take Profit Market","origSz":"12.5",
  "tif":null,"cloid":null}""")

STATUS = {"order": LONG_ORDER, "status": "canceled", "statusTimestamp": 1724361546645}

FILL = _read("""{"coin":"ETH","px":"2067.2","sz":"0.01","side":"A","time":1770524192528,
  "startPosition":"0.01","dir":"Close Long","closedPnl":"-0.13","hash":"0x5b1955fc","oid":315449302232,
  "crossed":true,"fee":"0.00893","tid":343484124188045,"cloid":"0x000300511afb52d40000010000000073",
  "feeToken":"USDC","twapId":null}""")

CANDLE = _read("""{"t":1790344800000,"T":1790348399999,"s":"BTC","i":"1h","o":"83912.0","c":"84010.0",
  "h":"84039.0","l":"83133.0","v":"3997.94344","n":35095}""")

FUNDING = _read("""{"coin":"BTC","fundingRate":"0.0000125","premium":"-0.0001875303",
  "time":1790352000015}""")

BOOK = _read("""{"coin":"BTC","time":1790358575700,"levels":[[{"px":"83767.0","sz":"6.87634","n":45}],
  [{"px":"83768.0","sz":"0.30543","n":3}]]}""")

USER_FUNDING = _read("""{"time":1790352000015,"hash":"0x00","delta":{"type":"funding","coin":"ETH",
  "usdc":"3.414774","szi":"-5.8509","fundingRate":"0.0001","nSamples":null}}""")

PERIOD = {"accountValueHistory": [[1, "1.0"]], "pnlHistory": [[1, "0.0"]], "vlm": "1.0"}
PERIODS = ("day", "week", "month", "allTime", "perpDay", "perpWeek", "perpMonth", "perpAllTime")

ANSWERS: dict[str, Json] = {
    "meta": META,
    "metaAndAssetCtxs": [META, [CONTEXT]],
    "spotMeta": {
        "universe": [{"tokens": [1, 0], "name": "PURR/USDC", "index": 0, "isCanonical": True}],
        "tokens": [
            {
                "name": "USDC",
                "szDecimals": 8,
                "weiDecimals": 8,
                "index": 0,
                "tokenId": "0x6d1e7cde53ba9467b783cb7c530ce054",
                "isCanonical": True,
                "evmContract": None,
                "fullName": None,
                "deployerTradingFeeShare": "0.0",
            }
        ],
    },
    "allMids": {"BTC": "30135.0", "PURR/USDC": "0.14988"},
    "clearinghouseState": CROSS,
    "spotClearinghouseState": {
        "balances": [{"coin": "USDC", "token": 0, "total": "14.6", "hold": "0.0", "entryNtl": "0.0"}]
    },
    "openOrders": OPEN_ORDERS,
    "frontendOpenOrders": [LONG_ORDER],
    "userFills": [FILL],
    "userFillsByTime": [FILL],
    "orderStatus": {"status": "order", "order": STATUS},
    "historicalOrders": [STATUS],
    "candleSnapshot": [CANDLE],
    "fundingHistory": [FUNDING],
    "userFunding": [USER_FUNDING],
    "l2Book": BOOK,
    "portfolio": [[name, PERIOD] for name in PERIODS],
    "userRateLimit": {"cumVlm": "357.45105", "nRequestsUsed": 231, "nRequestsCap": 10357},
    "extraAgents": [{"name": "shield-probe", "address": "0x00", "validUntil": 1788787057807}],
    "userNonFundingLedgerUpdates": [
        {"time": 1, "hash": "0x00", "delta": {"type": "deposit", "usdc": "2703997.4500000002"}},
        {
            "time": 1,
            "hash": "0x00",
            "delta": {"type": "accountClassTransfer", "usdc": "12.0", "toPerp": False},
        },
    ],
    "userRole": {"role": "user"},
}
"""By request type. ``spotMeta`` and ``spotClearinghouseState`` are the documented samples."""

_SHORT = {key: OPEN_ORDERS[0][key] for key in OPEN_ORDERS[0]}
_PAID = {key: value for key, value in USER_FUNDING["delta"].items() if key != "type"} | {"time": 1}

FRAMES: dict[str, Json] = {
    "allMids": {"mids": {"BTC": "85801.5", "PURR/USDC": "0.14988"}},
    "candle": CANDLE,
    "l2Book": BOOK,
    "bbo": {"coin": "BTC", "time": 1, "bbo": [BOOK["levels"][0][0], BOOK["levels"][1][0]]},
    "trades": [
        {
            "coin": "BTC",
            "side": "B",
            "px": "83770.0",
            "sz": "0.00819",
            "time": 1790358604045,
            "hash": "0x00",
            "tid": 437413095582311,
            "users": ["0xbuyer", "0xseller"],
        }
    ],
    "activeAssetCtx": {"coin": "SOL", "ctx": CONTEXT},
    "activeAssetData": {
        "user": "0x00",
        "coin": "BTC",
        "leverage": {"type": "isolated", "value": 10, "rawUsd": "-4999.5"},
        "maxTradeSzs": ["683.3", "684.4"],
        "availableToTrade": ["1.0", "1.0"],
        "markPx": "85970.0",
    },
    "userFills": {"isSnapshot": True, "user": "0x00", "fills": [FILL]},
    "userFundings": {"isSnapshot": True, "user": "0x00", "fundings": [_PAID]},
    "orderUpdates": [{"order": _SHORT, "status": "open", "statusTimestamp": 1770524603232}],
}
"""The ``data`` of a frame by its channel."""

USER_EVENTS: dict[str, Json] = {
    "fills": [FILL],
    "funding": _PAID,
    "liquidation": {
        "lid": 1,
        "liquidator": "0x00",
        "liquidated_user": "0x00",
        "liquidated_ntl_pos": "1.0",
        "liquidated_account_value": "1.0",
    },
    "nonUserCancel": [{"coin": "BTC", "oid": 1}],
}
"""The four forms of the ``user`` channel, by their only key."""
