"""Which contrast phase each series is, how sure that is, and why."""
