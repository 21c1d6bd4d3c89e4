"""What makes a model folder: the learners. Needs torch, but for those that do without."""
