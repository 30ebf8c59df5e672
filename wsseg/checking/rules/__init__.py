"""Rules about datasets. Every file has a function `find(dataset) -> findings`, which `wsseg check` runs."""
