"""The worklist: studies by suspicion, as a page and as JSON, for those who log in or hold a key.

settings.py  the table [worklist] of hospital.toml
accounts.py  users and their password hashes, lock-out after failures
sessions.py  who is logged in
entries.py   studies in the order in which they are to be read; none is left out
page.py      pages from templates (web/)
guard.py     what surrounds every answer: headers, and who may send a form
app.py       the routes
server.py    all of it on a port
"""
