"""Keys: which take part, what they are called at the destination, and what a destination may have made of them."""
