"""Guides, their pictures, and what makes them."""
