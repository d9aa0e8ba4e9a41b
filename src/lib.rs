//! commedia
