"""Feedback by the id of a completion: what is said, what it comes to, and the route that takes it."""
