//! Packets: checked views, rewriting, and packets made here.
