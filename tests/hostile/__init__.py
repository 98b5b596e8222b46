"""Hostile input: what was seen to fail, each as a named case, and a generator of more."""
