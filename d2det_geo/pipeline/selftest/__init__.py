"""Checks a user can run on the own data: what is known to be there is put in, and what comes out is compared."""
