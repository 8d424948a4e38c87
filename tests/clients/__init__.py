"""Clients that people use, unchanged, against hydra-ray as it is served."""

# Who has said something before, and what was asked then.
USER, REMEMBERED = "ann", "Dinner on Friday?"

# The page of examples, and where they look for the endpoint.
PAGE, SHOWN = "docs/clients.md", "http://127.0.0.1:8000/v1"
