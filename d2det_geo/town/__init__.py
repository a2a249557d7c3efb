"""Procedural aerial towns with exact roof outlines: for the demo, the tests and training."""

from d2det_geo.town.scene import Town, make_town

__all__ = ["Town", "make_town"]
