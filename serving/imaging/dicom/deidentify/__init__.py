"""DICOM objects without what identifies a person.

rebuild.py      an object of nothing but its pixels, named by their digest: for pictures in a folder
confidential.py an object of the Basic Application Level Confidentiality Profile (PS3.15, annex E): for exports
profile.py      the attributes that such an object has, each in a value that was checked or made anew
pseudonyms.py   UIDs, patients and dates under a key
frames.py       pixel data without what is no pixel: comments, unused bits, trailing bytes
burned_in.py    a look for text in the pixels
reviewed.py     the list of images whose text a person has read
"""
