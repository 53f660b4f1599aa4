"""What a plan tells its reviewer: losses, risks, requests, time, money. Imported by the rest of planner/."""
