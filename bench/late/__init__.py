"""Outcomes that come late: what is learned of them, and what of them is dropped, counted as nothing or poisoned."""
