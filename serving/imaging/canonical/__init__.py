"""From a radiograph as it comes to one as a radiographer hangs it: field, range, polarity, orientation."""
