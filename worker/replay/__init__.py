"""Replay: from stored conversations to the transitions that the algorithm takes."""
