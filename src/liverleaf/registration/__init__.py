"""All phases of a study brought onto the grid of its reference phase."""
