"""The experiment store: MLflow runs, what is logged to them, and the file behind them."""
