"""A bento to a cloud: the clouds' own clients are driven, and nothing is added to what a service needs."""
