"""The log of what administrators did, as they read it."""
