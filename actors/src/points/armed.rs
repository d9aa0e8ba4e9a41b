//! What happens at crash points: the process dies there, as by a power cut for itself; or one thread panics, or hangs.

use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Point;

/// What is done at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The process aborts: nothing unwinds, nothing is flushed.
    Crash,
    /// The thread panics.
    Panic,
    /// The thread never goes on.
    Hang,
}

/// An act at a point, when it is passed so many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Order {
    act: Act,
    point: Point,
    nth: u64,
}

static ORDERS: OnceLock<Vec<Order>> = OnceLock::new();
static PASSES: [AtomicU64; Point::ALL.len()] = [const { AtomicU64::new(0) }; Point::ALL.len()];

impl FromStr for Point {
    type Err = String;
    fn from_str(name: &str) -> Result<Point, String> {
        let found = Point::ALL.iter().find(|point| point.name() == name);
        found.copied().ok_or_else(|| format!("there is no crash point `{name}`"))
    }
}

/// `point` or `point:nth`, several with commas between them.
fn orders(act: Act, text: &str) -> Result<Vec<Order>, String> {
    let order = |word: &str| {
        let (name, nth) = word.rsplit_once(':').unwrap_or((word, "1"));
        let nth: u64 =
            nth.parse().ok().filter(|n| *n > 0).ok_or_else(|| format!("`{nth}` counts no passes: write `{name}:1`"))?;
        Ok(Order { act, point: name.parse()?, nth })
    };
    text.split(',').map(|word| order(word.trim())).collect()
}

/// Says what is to be done at which points; once for the process, before anything else.
pub fn arm(wanted: &[(Act, String)]) -> Result<(), String> {
    let all: Result<Vec<Vec<Order>>, String> = wanted.iter().map(|(act, text)| orders(*act, text)).collect();
    ORDERS.set(all?.concat()).map_err(|_| "crash points are armed already".to_owned())
}

pub(super) fn pass(point: Point) {
    let Some(orders) = ORDERS.get().filter(|orders| !orders.is_empty()) else { return };
    let nth = PASSES[point as usize].fetch_add(1, Ordering::SeqCst) + 1;
    if let Some(order) = orders.iter().find(|order| order.point == point && order.nth == nth) {
        let name = point.name();
        match order.act {
            Act::Crash => {
                eprintln!("crash point {name}: the process ends at pass {nth}");
                std::process::abort();
            }
            Act::Panic => {
                eprintln!("crash point {name}: a panic at pass {nth}");
                panic!("crash point {name}");
            }
            Act::Hang => {
                eprintln!("crash point {name}: no further at pass {nth}");
                loop {
                    std::thread::park();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_point_and_a_count() {
        let check = |text: &str, expect: Result<&[(Point, u64)], &str>| {
            let found = orders(Act::Crash, text).map(|all| all.iter().map(|o| (o.point, o.nth)).collect::<Vec<_>>());
            assert_eq!(found.as_deref().map_err(String::as_str), expect, "{text}");
        };
        check("run.end.before", Ok(&[(Point::EndBefore, 1)]));
        check("run.end.before:3", Ok(&[(Point::EndBefore, 3)]));
        check("group.sync.after:2, group.begin", Ok(&[(Point::SyncAfter, 2), (Point::GroupBegun, 1)]));
        check("run.end", Err("there is no crash point `run.end`"));
        check("run.end.before:0", Err("`0` counts no passes: write `run.end.before:1`"));
        check("", Err("there is no crash point ``"));
    }
}
