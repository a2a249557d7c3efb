"""Annotation formats: each file reads, and where it pays writes, one of them as ``Annotations``."""
