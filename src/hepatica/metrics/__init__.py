"""How good predictions are: arrays of predictions and truth in, numbers out."""
