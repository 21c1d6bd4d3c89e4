"""A race of learners by folds: what automl tries, in which order, and what it recommends."""
