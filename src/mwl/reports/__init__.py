"""What a run leaves for its reader: a page that opens from a file, and the description of the run in MLflow."""
