"""The views of ``wonttrade sql``: names and columns that stay, whatever the tables below them look like.

Belongs here: the SQL of the views. Does not belong here: connections (``sql_session``), showing.

They stand on ``stages`` (one row a cycle and stage, ``payload`` is JSON), ``opening`` (the opening equity)
and the three tables of the market, wherever these come from. Times are UTC without a zone; sizes, prices and
USD are DOUBLE, their exact texts stand in the payloads.
"""

from collections.abc import Mapping

STAGES = "CREATE TABLE stages (cycle_ms BIGINT, stage VARCHAR, recorded_at_ms BIGINT, payload JSON)"
OPENING = "CREATE TABLE opening (time_ms BIGINT, account_value_usd DOUBLE)"

MARKET: Mapping[str, str] = {
    "candles": """
        CREATE TABLE candles_stored (symbol VARCHAR, interval VARCHAR, open_time_ms BIGINT, open DOUBLE,
            high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE, source VARCHAR)""",
    "funding_rates": """
        CREATE TABLE funding_rates_stored (
            symbol VARCHAR, time_ms BIGINT, rate_hourly DOUBLE, source VARCHAR)""",
    "open_interest": """
        CREATE TABLE open_interest_stored (
            symbol VARCHAR, time_ms BIGINT, open_interest_base DOUBLE, source VARCHAR)""",
}
"""Tables of the market, and what stands for one that there is no copy of."""

MACROS = (
    "CREATE MACRO utc(ms) AS make_timestamp(ms * 1000)",
    "CREATE MACRO num(document, path) AS CAST(document ->> path AS DOUBLE)",
    "CREATE MACRO whole(document, path) AS CAST(document ->> path AS BIGINT)",
)

VIEWS: Mapping[str, str] = {
    "candles": """
        SELECT symbol, interval, utc(open_time_ms) AS open_time, open, high, low, close, volume,
               source
        FROM candles_stored""",
    "funding_rates": """
        SELECT symbol, utc(time_ms) AS time, rate_hourly, source FROM funding_rates_stored""",
    "open_interest": """
        SELECT symbol, utc(time_ms) AS time, open_interest_base, source
        FROM open_interest_stored""",
    "cycles": """
        SELECT utc(cycle_ms) AS cycle, payload ->> '$.outcome' AS outcome,
               payload ->> '$.reason' AS reason, payload ->> '$.detail' AS detail,
               num(payload, '$.account_value_usd') AS account_value_usd,
               whole(payload, '$.actions_planned') AS actions_planned,
               whole(payload, '$.actions_failed') AS actions_failed,
               whole(payload, '$.model_latency_ms') AS model_latency_ms,
               payload -> '$.alerts' AS alerts, payload -> '$.positions' AS positions,
               utc(whole(payload, '$.finished_at_ms')) AS finished_at
        FROM stages WHERE stage = 'cycle_reports'""",
    "decisions": """
        SELECT utc(cycle_ms) AS cycle, payload ->> '$.outcome.kind' AS outcome,
               payload ->> '$.outcome.reason' AS reason, payload ->> '$.outcome.detail' AS detail,
               payload ->> '$.outcome.prior_plan' AS prior_plan,
               payload ->> '$.outcome.explanation' AS explanation,
               payload ->> '$.outcome.invalidation_condition' AS invalidation_condition,
               payload -> '$.outcome.targets' AS targets,
               payload ->> '$.reply.model' AS model,
               whole(payload, '$.reply.received_at_ms') - whole(payload, '$.reply.sent_at_ms') AS latency_ms,
               whole(payload, '$.reply.usage.prompt_tokens') AS prompt_tokens,
               whole(payload, '$.reply.usage.completion_tokens') AS completion_tokens,
               num(payload, '$.cost_usd') AS cost_usd, payload ->> '$.reply.text' AS reply
        FROM stages WHERE stage = 'decisions'""",
    "orders": """
        WITH results AS (
            SELECT cycle_ms, unnest(from_json(payload -> '$.results', '["JSON"]')) AS result
            FROM stages WHERE stage = 'executions')
        SELECT utc(cycle_ms) AS cycle, result ->> '$.action.symbol' AS symbol,
               result ->> '$.action.purpose' AS purpose,
               CASE result ->> '$.action.is_buy' WHEN 'true' THEN 'buy' ELSE 'sell' END AS side,
               num(result, '$.action.size_base') AS size_base,
               num(result, '$.action.limit_px') AS limit_px,
               num(result, '$.action.trigger_px') AS trigger_px,
               result ->> '$.action.reason' AS reason, result ->> '$.status' AS status,
               result ->> '$.message' AS message, num(result, '$.filled_base') AS filled_base,
               num(result, '$.average_px') AS average_px, whole(result, '$.oid') AS oid,
               result ->> '$.action.cloid' AS cloid,
               utc(whole(result, '$.sent_at_ms')) AS sent_at
        FROM results WHERE result ->> '$.action.kind' = 'place'""",
    "fills": """
        WITH filled AS (
            SELECT cycle_ms, unnest(from_json(payload -> '$.fills', '["JSON"]')) AS fill
            FROM stages WHERE stage IN ('cycle_reports', 'end'))
        SELECT utc(whole(fill, '$.time_ms')) AS time, fill ->> '$.symbol' AS symbol,
               fill ->> '$.direction' AS direction, num(fill, '$.size_base') AS size_base,
               num(fill, '$.px') AS px, num(fill, '$.fee_usd') AS fee_usd,
               num(fill, '$.closed_pnl_usd') AS closed_pnl_usd, whole(fill, '$.oid') AS oid,
               whole(fill, '$.tid') AS tid, fill ->> '$.cloid' AS cloid,
               utc(cycle_ms) AS cycle
        FROM filled""",
    "equity": """
        SELECT utc(time_ms) AS time, account_value_usd FROM opening
        UNION ALL
        SELECT utc(cycle_ms), num(payload, '$.account_value_usd')
        FROM stages
        WHERE stage IN ('cycle_reports', 'end') AND num(payload, '$.account_value_usd') IS NOT NULL
          AND cycle_ms > coalesce((SELECT max(time_ms) FROM opening), 0)
        ORDER BY time""",
}
"""Name → query."""

LINES = """
CREATE TEMP TABLE lines AS
SELECT seq, kind, cycle_ms, recorded_at_ms, body FROM read_json({path}, format = 'newline_delimited',
    ignore_errors = true, maximum_object_size = 268435456,
    columns = {{seq: 'BIGINT', kind: 'VARCHAR', cycle_ms: 'BIGINT', recorded_at_ms: 'BIGINT', body: 'JSON'}})
WHERE seq IS NOT NULL
"""
"""The lines of a backtest's results; one that is no JSON is left out, as the last may be: still written."""

MISSING_LINES = """
SELECT count(*), min(seq) FROM (
    SELECT unnest(range(1, (SELECT coalesce(max(seq), 0) FROM lines) + 1)) AS seq)
ANTI JOIN lines USING (seq)
"""
"""How many of the lines before the last readable one are not among them, and the first."""

STAGES_OF_LINES = """
INSERT INTO stages
WITH cycle_lines AS (FROM lines WHERE kind = 'cycle')
SELECT cycle_ms, 'decisions', recorded_at_ms, json_merge_patch(
    coalesce(body -> '$.records.decisions', '{}'),
    json_object('outcome', body -> '$.decision', 'reply', body -> '$.reply')) FROM cycle_lines
UNION ALL
SELECT cycle_ms, 'executions', recorded_at_ms, body -> '$.records.executions' FROM cycle_lines
UNION ALL
SELECT cycle_ms, 'cycle_reports', recorded_at_ms, json_merge_patch(
    coalesce(body -> '$.records.cycle_reports', '{}'),
    json_object('outcome', body -> '$.outcome', 'reason', body -> '$.reason', 'alerts', body -> '$.alerts',
        'fills', body -> '$.fills', 'positions', body -> '$.positions',
        'account_value_usd', nullif(body ->> '$.account_value_usd', 'None'))) FROM cycle_lines
UNION ALL
SELECT cycle_ms, 'end', recorded_at_ms, body FROM lines WHERE kind = 'end'
"""
