"""Labelled imagery: annotation formats, the images they describe, and the chips a network trains on."""
