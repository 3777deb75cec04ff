"""What an archive holds, one entry an image: folders, buckets, lists, inventories."""
