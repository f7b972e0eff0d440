"""A digital liver: CT and MR studies of simulated people and rats with their full truth."""
