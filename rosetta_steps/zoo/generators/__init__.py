"""Generators, from latents to images, with one module for each family of networks.

A family is registered in LOADERS of zoo.entries, and its properties for sample sets in
sample_settings.FAMILIES. CONTRIBUTING.md lists everything that a new family needs.
"""
