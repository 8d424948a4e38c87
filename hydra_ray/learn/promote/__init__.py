"""A version of the base becomes the one that is served, once its users have their heads."""
