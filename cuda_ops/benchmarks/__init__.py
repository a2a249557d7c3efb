"""What the operators cost, beside torchvision's and the plain references; no part of the wheel."""
