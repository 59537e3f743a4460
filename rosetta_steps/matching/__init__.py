"""Matches between models: tables of best buddies and of the dictionary, and what reads them."""
