"""A second version of a service that answers a share of its requests, and what watches it."""
