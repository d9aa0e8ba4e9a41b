//! actors
pub mod store;
