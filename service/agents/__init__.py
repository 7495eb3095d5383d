"""Agents: what they run on, how they speak, what their outcomes are measured in, when they learn."""
