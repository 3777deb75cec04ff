"""What radiographs from elsewhere look like, and what they do to an answer."""
