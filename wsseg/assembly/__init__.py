"""A recipe and its dataset -> the objects that a command runs on."""
