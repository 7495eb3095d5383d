"""The gateway: HTTP in, rows out. Knows no torch and no queue."""
