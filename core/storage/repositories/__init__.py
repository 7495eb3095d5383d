"""Queries, one file a noun. They take and return models and plain values, and never commit.

`get_x` raises NotFoundError, `find_x` returns None, `lock_x` takes a row lock.
"""
