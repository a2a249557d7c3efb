"""Outlines: polygons of detections, moved to the world and measured, and vector files read and written."""
