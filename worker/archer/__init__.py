"""ArCHer (Zhou et al. 2024): an utterance-level critic over a token-level policy. Imports nothing of ours."""
