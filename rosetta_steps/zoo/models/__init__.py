"""Discriminative models: one module a library or file format, from images to maps."""
