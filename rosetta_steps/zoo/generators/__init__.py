"""Generators: one module a network family, from latents to images.

A family is one row of the table in zoo.loaders; CONTRIBUTING.md lists all that a new one needs.
"""
