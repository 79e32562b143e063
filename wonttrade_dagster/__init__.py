"""WontTrade: a large language model trades Hyperliquid perpetuals, as a Dagster asset graph."""
