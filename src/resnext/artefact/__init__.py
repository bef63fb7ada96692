"""What is shipped: one verified file of weights and all that is needed to use them."""
