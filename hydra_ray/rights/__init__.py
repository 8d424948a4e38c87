"""What users may ask for: to see what is known of them, to take it with them, and to be forgotten."""
