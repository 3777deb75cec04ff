"""The HTTP interface of the prediction service."""
