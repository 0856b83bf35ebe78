"""Label many photographs: plan a manifest, label its partitions in parallel, write one file for each."""
