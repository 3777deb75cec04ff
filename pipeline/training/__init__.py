"""The network, its targets and augmentation, and what a killed training needs."""
