"""How good a model is on a cohort with truth, and how two models differ."""
