"""Turns: OpenAI's chat completions and plain /chat."""
