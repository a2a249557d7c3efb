"""Scores of predictions against truth: one protocol per file, arrays in, numbers out."""
