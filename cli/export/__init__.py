"""`nock export`: an agent's conversations, turns, outcomes and versions as Parquet files."""
