"""The AOI rule, for prediction, training and evaluation alike."""

LEAST_SHARE_INSIDE = 0.5
"""An object with a smaller share of its area inside the area of interest is ignored; the others count whole."""
