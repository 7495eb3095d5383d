"""Erasure on demand, and its reports."""
