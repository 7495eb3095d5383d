"""The rollout of an agent: trials, promotion, the ways back, and what has happened to it."""
