"""What a picture is, and what is done to it before it is sent."""
