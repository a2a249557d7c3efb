"""The command line: one command, one file; each parses, calls one pipeline function and prints."""
