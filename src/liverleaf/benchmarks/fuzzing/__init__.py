"""How often damaged files are read right, read with a warning, refused in one line, or crash."""
