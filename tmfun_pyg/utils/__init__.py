"""Helpers of the whole package, which import nothing else of it."""
