"""Data sets: find, download and load them."""
