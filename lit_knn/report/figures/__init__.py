"""Results as figures and pictures."""
