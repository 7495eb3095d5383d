"""Outcomes: what other systems say about a turn or a conversation."""
