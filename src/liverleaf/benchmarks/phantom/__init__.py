"""The phantom beside real curves, noise, texture and reference numbers; gallery and cost."""
