"""All that a prediction needs: tasks, recipe, runtimes, the model folder, the predictor. A server imports no more."""
