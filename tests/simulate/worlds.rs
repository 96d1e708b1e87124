//! Whole worlds: what scales them, and what holds in each.
