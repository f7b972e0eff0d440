"""The phantom beside real curves, noise and texture; its gallery and its cost."""
