"""What is wrong with a dataset, found before anything is trained on it: facts of every case, and judges of them."""
