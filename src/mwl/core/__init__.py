"""What every room stands on: errors, key names, files, checkpoints, and the artifact that a stage hands over."""
