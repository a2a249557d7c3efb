"""The D2Det network: tensors in, tensors out."""
