"""The model registry: MLflow, and the rules of promotion."""
