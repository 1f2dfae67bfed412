"""What others than a person at the command line see: runs of a folder, jobs, tools of an agent."""
