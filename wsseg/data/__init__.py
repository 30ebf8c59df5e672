"""Cases -> batches: the cache of preprocessed cases, the fingerprint, augmentation and patch sampling."""
