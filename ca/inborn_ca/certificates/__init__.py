"""What a certificate says: profile, serial, template, DER, lint; checked first, signed once. Pure."""
