"""Putting a version into service beside two other ways: under the name it had, and by restarting the engine."""
