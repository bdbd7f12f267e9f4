"""What the front and local admins may ask of the signer, and how it is answered."""
