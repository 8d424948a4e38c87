"""An OpenAI-compatible endpoint: its client, its health and keys, and the dialect that it speaks."""
