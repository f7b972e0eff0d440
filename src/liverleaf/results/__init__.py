"""The results of a whole cohort: a folder per case, and the tables and pages about them all."""
