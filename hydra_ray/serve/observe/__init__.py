"""What operators see of requests: a line of JSON each, and metrics."""
