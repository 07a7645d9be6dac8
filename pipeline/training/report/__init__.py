"""What a training leaves for people: an HTML page and a model card, made from its output alone."""
