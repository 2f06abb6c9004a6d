"""The program as others install and run it: from its wheel, on bare machines, in images, by orchestrators."""
