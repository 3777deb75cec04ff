"""Speed and memory against the usual ways, measured side by side; README.md holds the figures."""
