"""What PITI can be conditioned on, brought to the pictures its encoders were trained on."""
