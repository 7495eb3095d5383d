"""How much keys and end users may use up, counted in Redis by all gateways together."""
