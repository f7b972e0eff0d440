"""Many studies: found, read under pseudonyms, kept as case folders, indexed, split and exported."""
