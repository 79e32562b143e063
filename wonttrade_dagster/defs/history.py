"""The history family: candles, funding and open interest per UTC day, kept in ``market.duckdb``.

Belongs here: the assets and their job. Does not belong here: the venue's paging (``adapters.hyperliquid``),
the tables (``adapters.history``), files (``wonttrade history import``, which reports to these assets).
"""
