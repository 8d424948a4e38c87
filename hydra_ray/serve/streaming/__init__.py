"""Answers that reach the client while the LLM makes them."""
