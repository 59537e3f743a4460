"""Discriminative models: one module a library or file format, from images to maps.

A loader is one row of the table in zoo.loaders; CONTRIBUTING.md says what a new one must give.
"""
