"""Networks, how they are trained and asked, and their weights on disk."""
