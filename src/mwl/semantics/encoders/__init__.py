"""Encoders of sentences and pictures, and the cache of what they gave."""
