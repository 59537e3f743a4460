"""Generators: one module a network family, from latents to images.

A family is named in LOADERS of zoo.entries, and what a sample set may ask of it in
sample_settings.FAMILIES; CONTRIBUTING.md lists all that a new one needs.
"""
