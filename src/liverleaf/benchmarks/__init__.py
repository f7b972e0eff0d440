"""Experiments whose tables state commit, hardware and seed; no other part needs them."""
