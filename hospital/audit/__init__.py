"""The audit trail in ATNA form: who saw what, what came in and what went out (DICOM PS3.15, A.5 to A.7).

settings.py  the table [audit] of hospital.toml
messages.py  events as XML messages
trail.py     messages to a folder, durable before what they tell of is shown, and from there to a collection point
syslog.py    RFC 5424 lines, over UDP or TLS
watcher.py   what was received and delivered, from the rows that say so
"""
