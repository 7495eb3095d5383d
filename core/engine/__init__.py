"""How Nock talks to inference engines: vLLM's HTTP dialect, and nothing of what is behind it."""
