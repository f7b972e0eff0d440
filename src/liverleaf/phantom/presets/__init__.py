"""Populations by name, and the cases that are drawn in a way of their own."""
