"""What a run does in time: its history in samples, and the classes in which its requests are priced."""
