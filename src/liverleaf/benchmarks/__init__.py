"""Experiments that write a table with commit, hardware and seed; nothing else of the package needs them."""
