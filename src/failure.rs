//! Exit codes, and errors as the user sees them: one line, the remedy, the code. Never a trace.

use std::fmt;

use commedia_domain::run::Status;

/// What the process ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All is well.
    Ok = 0,
    /// A fault of the program itself.
    Internal = 1,
    /// The command line.
    Usage = 2,
    /// A file or parameters.
    Invalid = 3,
    /// A run failed.
    Failed = 4,
    /// A budget or time limit was reached, or a run waits with nobody to ask.
    Limit = 5,
    /// Cancelled, rejected or timed out by a person.
    Cancelled = 6,
    /// A server cannot be reached, or lets nobody in.
    Server = 7,
    /// The store is locked, damaged or full.
    Store = 8,
    /// A check or threshold was missed.
    Missed = 99,
    /// Interrupted; state is saved.
    Interrupted = 130,
}

impl Exit {
    /// Of several runs: an interruption, else the first of 8, 1, 4, 5, 6, 99, 7, 2, 3 that occurs.
    pub fn of_all(exits: impl IntoIterator<Item = Exit>) -> Exit {
        use Exit::{Cancelled, Failed, Internal, Interrupted, Invalid, Limit, Missed, Server, Store, Usage};
        let order = [Interrupted, Store, Internal, Failed, Limit, Cancelled, Missed, Server, Usage, Invalid];
        let all: Vec<Exit> = exits.into_iter().collect();
        order.into_iter().find(|e| all.contains(e)).unwrap_or(Exit::Ok)
    }

    /// What a run's status means for the process.
    pub fn of_status(status: &Status) -> Exit {
        match status {
            Status::Completed => Exit::Ok,
            Status::Failed => Exit::Failed,
            Status::Quarantined { .. } => Exit::Failed,
            Status::TimedOut | Status::OverBudget | Status::Paused { .. } => Exit::Limit,
            Status::Cancelled => Exit::Cancelled,
            Status::Created | Status::Running => Exit::Interrupted,
        }
    }
}

/// Why a command ends early.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// What is wrong, one line; empty where it has been said already.
    pub message: String,
    /// The remedy.
    pub help: Option<String>,
}

impl Failure {
    /// A failure with its code.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Failure {
        Failure { exit, message: message.to_string(), help: None }
    }

    /// The command line cannot be carried out.
    pub fn usage(message: impl fmt::Display) -> Failure {
        Failure::new(Exit::Usage, message)
    }

    /// A file or parameters are wrong.
    pub fn invalid(message: impl fmt::Display) -> Failure {
        Failure::new(Exit::Invalid, message)
    }

    /// The store.
    pub fn store(message: impl fmt::Display) -> Failure {
        Failure::new(Exit::Store, message)
    }

    /// Everything has been said.
    pub fn said(exit: Exit) -> Failure {
        Failure::new(exit, "")
    }

    /// The same with a remedy.
    #[must_use]
    pub fn help(mut self, help: impl fmt::Display) -> Failure {
        self.help = Some(help.to_string());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_runs_the_gravest_counts() {
        let check = |exits: &[Exit], expect: Exit| assert_eq!(Exit::of_all(exits.iter().copied()), expect, "{exits:?}");
        check(&[], Exit::Ok);
        check(&[Exit::Ok, Exit::Missed], Exit::Missed);
        check(&[Exit::Missed, Exit::Limit, Exit::Failed], Exit::Failed);
        check(&[Exit::Failed, Exit::Store], Exit::Store);
        check(&[Exit::Cancelled, Exit::Limit], Exit::Limit);
        check(&[Exit::Failed, Exit::Interrupted], Exit::Interrupted);
        for exit in [Exit::Server, Exit::Usage, Exit::Invalid] {
            check(&[Exit::Ok, exit], exit);
        }
    }
}
