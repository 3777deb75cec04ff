"""Corrected and merged patients, as the hospital's feed of HL7 v2 ADT messages tells them.

settings.py: the table; messages.py: what a message says, and its acknowledgement; corrections.py: what is kept of it,
and which studies it concerns; listener.py: the port.
"""
