//! What every searcher and every stopper must satisfy.
