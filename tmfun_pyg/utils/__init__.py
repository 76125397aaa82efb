"""Helpers for the whole package, which import nothing else from it."""
