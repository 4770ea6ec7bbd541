"""Workers that come and go while training goes on: who is in, and sums that survive the loss of any of them."""
