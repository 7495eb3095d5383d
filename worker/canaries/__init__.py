"""Trials as they are watched: who enters, what the test and the alarms say."""
