"""Masks that people or other programs drew, of any format, grid and phase."""
