"""Requests that personal choice cannot serve go to the LLM as they are, and its answers come back as they came."""
