"""Clients that people use, unchanged, against hydra-ray as it is served."""

# Who has said something before, and what was asked then.
USER, REMEMBERED = "ann", "Dinner on Friday?"
