"""Generators, from latents to images, with one module for each family of networks.

A family is one row of the table in zoo.loaders; CONTRIBUTING.md lists all that a new one needs.
"""
