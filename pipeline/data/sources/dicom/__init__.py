"""Radiographs as DICOM objects: a folder, a DICOMDIR, a ZIP archive or a DICOMweb server.

objects.py      what a source gives: objects one by one
files.py        a folder, and the files that a DICOMDIR names
archive.py      a ZIP archive, whose members are never unpacked to the disk
dicomweb.py     a DICOMweb server (QIDO-RS, WADO-RS)
labels.py       the table of labels, by SOP or Study Instance UID
staging.py      what is de-identified already, so that an interrupted command goes on
source.py       all of it into data/
"""

from pipeline.data.sources.dicom.source import fill

__all__ = ["fill"]
