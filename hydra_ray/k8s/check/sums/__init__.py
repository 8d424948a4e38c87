"""Whether it all fits: replicas onto nodes, requests into queues, ends into grace periods, connections."""
