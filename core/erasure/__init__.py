"""Erasure: shared by the gateway, which is asked for it, and by the worker, which does it when time is up."""
