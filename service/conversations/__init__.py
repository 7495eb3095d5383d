"""Conversations as they are read back, and their close."""
