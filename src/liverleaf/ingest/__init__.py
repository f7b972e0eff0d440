"""Files of a study, as they come, to a Study."""
