"""Model versions and aliases, read with MLflow and without it."""
