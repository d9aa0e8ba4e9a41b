//! actors
pub mod store;
pub mod tool;
