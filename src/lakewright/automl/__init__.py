"""AutoML over the columns of a table: a search for the best model within a time, in a glass box."""
