"""Objects that window edges cut in a scene become whole again, each once."""
