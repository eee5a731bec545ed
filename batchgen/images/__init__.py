"""What a picture is: its format and size, whether it is whole, its digests."""
