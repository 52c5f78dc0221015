"""What the tests share: files with known content, a network that can be broken, a running agent."""
