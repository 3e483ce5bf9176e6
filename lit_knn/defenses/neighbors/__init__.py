"""Defenses that let nearest neighbors vote."""
