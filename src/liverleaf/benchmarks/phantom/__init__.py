"""The phantom beside real curves, noise, texture and reference numbers; its gallery and its cost."""
