"""The digital phantom: CT and MR studies of simulated patients and rats, with their truth."""
