"""One module per origin of radiographs, each of which fills the canonical `data/` folder."""
