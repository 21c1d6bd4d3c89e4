"""A package of somebody else: a task over numbers alone, a step, a learner, a metric and a part of the page."""
