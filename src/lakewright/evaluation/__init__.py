"""How good a model is, in numbers: scorers, intervals, significance, calibration. It draws nothing."""
