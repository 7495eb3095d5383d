"""How Nock remembers: tables, queries, transactions."""
