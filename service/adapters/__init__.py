"""Adapter versions and the rollout: shown, promoted, rolled back, rejected."""
