"""What operators see of requests: a line of JSON each, metrics, and spans."""
