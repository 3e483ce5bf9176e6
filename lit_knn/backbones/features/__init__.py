"""Activations to features: pooled, projected by PCA."""
