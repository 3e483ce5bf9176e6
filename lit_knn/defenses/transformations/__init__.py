"""Defenses that change the image before it is classified."""
