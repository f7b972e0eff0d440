"""One HTML file per study that opens offline."""
