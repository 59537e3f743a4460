"""Matches between models: nearest partners, tables of best buddies, clustering into concepts."""
