"""What a service does with an image after it was answered, in processes of their own that only get spare time.

`keeping` writes the picture without its header where FRACTURE_KEEP_IMAGES names a folder, `shadow` answers it with a
second bundle. A decoder may hold Python's lock for a second: in the worker's own process an answer would wait for it.
"""
