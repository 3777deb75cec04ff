"""The page in a browser beside the service: the same answers, and how long they take."""
