"""The LLM of the demo: its checkpoint, and the program that trained it."""
