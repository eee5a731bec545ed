"""What the API's client and the downloads both need of HTTP: the way out, addresses, headers, fields."""
