"""Searches for the settings with which something is best: of an objective of one's own, or of a project."""
