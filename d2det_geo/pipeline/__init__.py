"""The corridor: one use case per file, each usable without the command line."""
