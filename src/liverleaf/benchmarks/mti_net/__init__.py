"""MTI-Net's tables: every method of the paper trained and tested on the same folds."""
