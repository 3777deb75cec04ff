"""What a deployed prediction service contains; nothing here imports tensorflow, mlflow or dvc."""
