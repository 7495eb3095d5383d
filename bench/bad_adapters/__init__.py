"""Bad adapters as canaries: how many conversations they are let into before they are taken back."""
