"""Weights in and out, of this project and of others, without running code."""
