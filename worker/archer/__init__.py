"""ArCHer (Zhou et al. 2024): an utterance-level critic over a token-level policy. Knows tensors, models and nothing of ours."""
