"""What bench.feedback is made of: the servers, the rows, and the two loads, each a process of its own."""
