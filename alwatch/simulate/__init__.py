"""Active-learning experiments on labelled data: what a strategy would have saved."""
