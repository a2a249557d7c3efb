"""Scenes in: windows of any GDAL raster, read as RGB chips at the GSD a model wants."""
