//! Neighbours of points, and the similarity graphs made of them
