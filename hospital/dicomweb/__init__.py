"""Objects in by DICOMweb, for sites without DIMSE.

related.py   multipart/related to files, within bounds
gate.py      what the receiver checks of an object, and the way into spool and queue
client.py    QIDO-RS and WADO-RS at one address, and nowhere else
poller.py    asks a server for new images now and then
app.py       STOW-RS: a request to its answer
server.py    the port that it is sent to
"""
