"""The folders of adapter versions: what they are called, and how they come to be there whole or not at all."""
