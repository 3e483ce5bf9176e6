"""What runs have measured, and what the paper has; no PyTorch."""
