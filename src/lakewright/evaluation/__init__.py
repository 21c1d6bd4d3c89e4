"""Measures how good a model is: scorers, intervals, significance, calibration. Only numbers, no pages."""
