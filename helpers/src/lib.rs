//! Protocol knowledge of Turnpike: the service catalogue, protocol helpers, layer-7 matching.
