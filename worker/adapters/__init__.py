"""A run's adapter folders and checkpoints: where they lie, and what of them belongs to nobody."""
