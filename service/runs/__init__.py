"""Learner runs: asked for here, done by the learner."""
