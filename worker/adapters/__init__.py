"""Adapter folders and the learner's checkpoints: there whole, or not there."""
