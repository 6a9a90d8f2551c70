"""Sampling and measuring."""
