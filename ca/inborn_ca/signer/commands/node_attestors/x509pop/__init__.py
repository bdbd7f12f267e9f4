"""The kind x509pop: a certificate of a CA that the admin has named, and the proof that its key is there."""
