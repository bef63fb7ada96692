"""Figures and self-contained pages, made of values that are handed in."""
