"""Generators: one module a network family, from latents to images."""
