"""Adapters that were trained elsewhere: received, checked, registered as candidates."""
