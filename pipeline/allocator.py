"""How the C library hands out memory, for stages that go through thousands of images."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_KEPT, _OWN_PAGES = 64 << 20, 4 << 20


def keep_image_buffers() -> bool:
    """Let buffers of up to 4 MB be used again, and up to 64 MB of them wait for it; False where malloc is another's.

    glibc gives each buffer of an image pyramid back to the kernel, which clears its pages for the next one: a quarter
    of the time that keypoints take. Larger arrays are still given back at once.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_MMAP_THRESHOLD, _OWN_PAGES) and mallopt(_TRIM_THRESHOLD, _KEPT))
