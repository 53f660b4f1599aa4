"""What an endpoint really does, asked before a plan is made. The top room of storage/."""
