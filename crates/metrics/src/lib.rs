//! Distances, accuracy, nearest-neighbour and probe evaluation of embeddings
