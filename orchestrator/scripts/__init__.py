"""Script jobs: any distributed program, as a group that starts, ends and is started again as a whole."""
