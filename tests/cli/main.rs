//! The program as users and scripts have it: run as a process, with files, signals and exit codes.

mod ask;
mod backup;
mod budgets;
mod home;
mod identity;
#[cfg(not(feature = "failpoints"))]
mod points;
mod recordings;
mod remote;
mod run;
mod serve;
mod store;
mod storm;
mod upkeep;
mod validate;
mod waiting;
mod words;
