"""Our registration beside that of others, on phantoms whose motion is known."""
