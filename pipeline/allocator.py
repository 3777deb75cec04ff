"""How the C library hands out memory, for stages that go through thousands of images."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_KEPT, _OWN_PAGES = 64 << 20, 4 << 20


def keep_image_buffers() -> None:
    """Let buffers of up to 4 MB be used again, and up to 64 MB of them wait for it.

    glibc gives each buffer of an image pyramid back to the kernel, which clears its pages for the next one: a quarter
    of the time that keypoints take. Larger arrays are still given back at once. Nothing happens without glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _OWN_PAGES)
        mallopt(_TRIM_THRESHOLD, _KEPT)
