"""One batch as several jobs: the plan before them, and the merge of their outputs after them."""
