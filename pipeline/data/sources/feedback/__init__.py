"""Images whose truth readers or reports have confirmed, from a service's store of answers."""
