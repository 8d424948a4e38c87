"""What an online experiment came to, for people: on a terminal, and as a page."""
