"""Masks and images to volumes, diameters, enhancement curves and findings."""
