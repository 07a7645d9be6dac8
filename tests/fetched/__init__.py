"""What needs files from a package registry: `make test-fetched`."""
