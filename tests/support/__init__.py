"""What tests share: recorded hosts, and doubles of the kernel that answer from them."""
