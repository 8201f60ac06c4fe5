"""What every part of fedsec stands on: functional networks, streams of randomness, records."""
