"""What the processes agree on: domain, storage, the engine's client, rollouts. No web framework, no queue, no torch."""
