"""The gateway of a hospital: radiographs in over DICOM, results out to where a reader looks, and nothing lost between.

config.py errors.py logs.py   hospital.toml, one-line errors, logs that name no patient
database.py queue.py spool.py what is remembered: rows, jobs with leases, files
sharing.py                    a spool of several gateways
receiver.py bounded.py        objects in: C-STORE and C-ECHO, within limits
intake.py                     a received object to rows and a job
scoring/                      an image to its answer: a process pool with the bundle, or the HTTP service
studies.py                    answers to a version of a study's result
results/                      a version to DICOM objects
export.py                     received studies without what identifies a person
delivery/                     those objects to their destinations
worklist/                     studies by suspicion, as a page and as JSON
audit/                        who saw what, what came in and went out, as ATNA messages
gateway.py                    all of it as one process; cli.py is its command line
"""
