"""Commands that measure: figures of a model on a cohort, and speed."""
