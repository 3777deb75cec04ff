"""Later images compared with those of training."""
