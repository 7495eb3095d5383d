"""Loading, probing and moving the pointer: the use case that the admin route and the worker share."""
