"""Who is worked on: files that list users and items, the users of a store, and who was deleted."""
