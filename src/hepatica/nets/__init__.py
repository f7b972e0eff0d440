"""The networks, one file each; they share `blocks` and compute no losses."""
