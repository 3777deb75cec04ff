"""Deploy a bento, by driving each cloud's own command line client: a service needs no further package for it."""
