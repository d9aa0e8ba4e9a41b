//! Everything of commedia that runs.

pub mod tool;
