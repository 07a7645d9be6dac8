"""PITI: label maps, sketches and geometry to photos (Wang et al., arXiv 2205.12952), on the networks of GLIDE."""
