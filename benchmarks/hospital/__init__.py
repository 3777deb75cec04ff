"""What the gateway does under faults and load."""
