"""The API's client: one attempt, judged, no policy."""
