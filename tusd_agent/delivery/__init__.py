"""From queue to server: worker, uploader, retry policy, breaker, rate limit, after-upload action."""
