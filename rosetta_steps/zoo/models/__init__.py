"""Discriminative models: one module a library or file format, from images to maps.

A loader is named in LOADERS of zoo.entries; CONTRIBUTING.md says what a new one must give.
"""
