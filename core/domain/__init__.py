"""Plain values and rules; no storage, no network, no framework."""
