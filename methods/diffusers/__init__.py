"""Any image-editing pipeline of the installed diffusers as a method."""
