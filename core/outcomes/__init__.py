"""Ending conversations and settling what they earned: shared by the gateway and by the sweep for idle ones."""
