"""Fits the gate with the base, from what bases of other users choose for each training user."""
