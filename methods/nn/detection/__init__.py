"""Object detectors behind one small interface: pictures in, boxes with classes and scores out."""
