"""Cases as networks see them: on their grid, normalised, drawn into batches."""
