"""What the gateway costs: a mock engine, a load, and the gateways that are put between the two."""
