"""Files, processes, memory and versions: what has nothing to do with livers."""
