"""SPIFFE IDs, X509-SVIDs and bundles as values, and when they are renewed. Pure."""
