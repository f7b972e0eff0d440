"""LIDIA: lesions of a multi-phase CT, in three dimensions, whatever phases there are."""
