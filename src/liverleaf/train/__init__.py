"""One training run from a recipe and a cohort to a model."""
