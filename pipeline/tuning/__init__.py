"""A search over train's parameters: trials on validation folds, stopped early where others are better."""
