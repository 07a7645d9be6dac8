"""A third party's methods, installed through the entry-point group: small ones that tests and benchmarks need."""
