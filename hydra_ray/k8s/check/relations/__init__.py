"""What objects that are applied together say of each other."""
