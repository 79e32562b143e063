"""The outside world behind the ports of the core: venue, model, files, DuckDB, telemetry.

Adapters take plain values, never ``Settings``, and know nothing of Dagster.
"""
