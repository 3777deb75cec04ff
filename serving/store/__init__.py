"""What a service remembers of its answers and of what readers said of them, in a database of the operator's.

An extra of the service (`locks/store.txt`): only `database`, its tables and migrations import SQLAlchemy, and nothing
does before FRACTURE_STORE_URL is set. No pixel and no name is kept.
"""
