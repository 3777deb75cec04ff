"""What a service remembers of its answers and of what readers said of them, in a database of the operator's.

An extra of the service (`locks/store.txt`): only `database`, `writer` and what stands on them import SQLAlchemy, and
nothing does before FRACTURE_STORE_URL is set. No pixel and no name is kept.
"""
